// "Try it": a form for one operation, the curl command for it, and what came back.

import { show } from "./answer.js";
import { code, copier, el, line } from "./dom.js";
import { assemble, curl, send } from "./request.js";

const LAST_ID = "imgsvc.last-id";
const FORM = "multipart/form-data";
let made = 0;

export function tryIt(spec, call, keyOf) {
  const fields = call.parameters.map((parameter) => field(spec, parameter));
  const body = call.operation.requestBody ? new Body(spec, spec.resolve(call.operation.requestBody)) : null;
  const command = code("");
  const answer = el("div", { className: "answer", "aria-live": "polite" });
  const stop = el("button", { type: "button", className: "quiet", hidden: true }, "Stop");
  const request = () =>
    assemble(
      call,
      fields.map(({ parameter, input }) => ({ parameter, value: input.value })),
      body?.read() ?? {},
      keyOf(),
    );
  const refresh = () => (command.firstChild.textContent = curl(request()));

  let latest;
  async function submit(event) {
    event.preventDefault();
    latest?.abort(); // or else its stream would go on unseen, with no way to stop it
    const abort = new AbortController();
    latest = abort;
    stop.onclick = () => abort.abort();
    stop.hidden = false;
    answer.replaceChildren("Waiting…");
    try {
      const began = performance.now();
      const value = await show(await send(request(), abort.signal), began, answer);
      if (call.method === "post" && value?.task_id) sessionStorage.setItem(LAST_ID, value.id);
    } catch (error) {
      if (abort !== latest) return;
      answer.append(el("p", { className: "bad" }, abort.signal.aborted ? "Stopped." : `No answer: ${error.message}`));
    }
    if (abort === latest) stop.hidden = true;
  }

  const form = el(
    "form",
    { className: "try", onsubmit: submit, oninput: refresh, onchange: refresh },
    body?.node,
    fields.map(({ row }) => row),
    el("div", { className: "row" }, el("button", { type: "submit" }, "Send"), stop),
    el(
      "div",
      { className: "command" },
      command,
      copier(() => command.textContent),
    ),
    answer,
  );
  refresh();
  return form;
}

function field(spec, parameter) {
  const schema = spec.resolve(parameter.schema ?? Object.values(parameter.content)[0].schema);
  const input = control(schema, parameter.example);
  if (parameter.in === "path") {
    input.required = true;
    if (parameter.name === "id") input.value = sessionStorage.getItem(LAST_ID) ?? "";
  }
  return { parameter, input, row: labelled(parameter.name, input, parameter.in) };
}

function control(schema, example) {
  if (schema.enum)
    return el(
      "select",
      {},
      el("option", { value: "" }, ""),
      schema.enum.map((one) => el("option", {}, String(one))),
    );
  const shown = example ?? schema.default ?? "";
  return el("input", {
    type: "text",
    autocomplete: "off",
    spellcheck: false,
    placeholder: typeof shown === "object" ? JSON.stringify(shown) : String(shown),
  });
}

function labelled(name, input, note) {
  made += 1;
  input.id = `try-${made}`;
  return el(
    "div",
    { className: "row" },
    el("label", { for: input.id }, el("code", {}, name), el("span", { className: "note" }, ` ${note}`)),
    input,
  );
}

class Body {
  constructor(spec, body) {
    this.spec = spec;
    this.content = body.content;
    this.types = Object.keys(body.content);
    this.kind = el(
      "select",
      { onchange: () => this.fill() },
      this.types.map((type) => el("option", {}, type)),
    );
    this.inside = el("div");
    this.node = el(
      "fieldset",
      {},
      el("legend", {}, "Body"),
      this.types.length > 1 ? labelled("Content-Type", this.kind, "") : null,
      this.inside,
    );
    this.fill();
  }

  fill() {
    const type = this.kind.value;
    const media = this.content[type];
    if (type === FORM) {
      const schema = this.spec.resolve(media.schema);
      this.parts = Object.entries(schema.properties).map(([name, raw]) => {
        const one = this.spec.resolve(raw);
        const input = one.type ? control(one, one.examples?.[0]) : el("input", { type: "file", accept: "image/*" });
        return { name, input, row: labelled(name, input, schema.required.includes(name) ? "" : "optional") };
      });
      this.inside.replaceChildren(...this.parts.map(({ row }) => row));
    } else if (type === "application/json") {
      const example = Object.values(this.spec.examples(media))[0];
      this.single = el("textarea", { rows: 8, spellcheck: false, value: JSON.stringify(example, null, 2) });
      this.inside.replaceChildren(labelled("JSON", this.single, ""));
    } else {
      this.single = el("input", { type: "file", accept: "image/*" });
      this.inside.replaceChildren(
        labelled("file", this.single, ""),
        el("p", { className: "note" }, line("The fields go into the query, by the parameters above.")),
      );
    }
  }

  read() {
    const type = this.kind.value;
    if (type === FORM) {
      const values = this.parts.map(({ name, input }) => [name, input.files ? input.files[0] : input.value]);
      return { content: values.filter(([, value]) => value) };
    }
    return { type, content: this.single.files ? (this.single.files[0] ?? "") : this.single.value };
  }
}
