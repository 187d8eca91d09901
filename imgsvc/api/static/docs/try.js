/** "Try it": a form that sends one operation's request, shows it as a curl command, and displays the response. */

import { storedKey } from "../shared/api-key.js";
import { codeBlock, copyButton, el, inline } from "./dom.js";
import { buildRequest, curlCommand, sendRequest } from "./request.js";
import { showResponse } from "./response.js";

const LAST_ID = "imgsvc.last-id"; // of the upload made last, which the other forms begin with
const FORM = "multipart/form-data";
let inputCount = 0;

export function tryForm(spec, { method, path, operation, parameters }) {
  const fields = parameters.map((parameter) => parameterField(spec, parameter));
  const body = operation.requestBody ? new Body(spec, spec.resolve(operation.requestBody)) : null;
  const command = codeBlock("");
  const output = el("div", { className: "response", "aria-live": "polite" });
  const stopButton = el("button", { type: "button", hidden: true }, "Stop");
  const currentRequest = () => {
    const values = fields.map(({ parameter, input }) => ({ parameter, value: input.value }));
    return buildRequest({ method, path }, values, body?.read() ?? {}, storedKey());
  };
  const updateCommand = () => {
    command.firstChild.textContent = curlCommand(currentRequest());
  };

  let latest;
  async function submit(event) {
    event.preventDefault();
    latest?.abort(); // a stream that is replaced would go on unseen, and could not be stopped
    const controller = new AbortController();
    latest = controller;
    stopButton.onclick = () => controller.abort();
    stopButton.hidden = false;
    output.replaceChildren("Waiting for the response…");
    try {
      const startedAt = performance.now();
      const response = await sendRequest(currentRequest(), controller.signal);
      const value = await showResponse(response, startedAt, output);
      if (method === "post" && value?.task_id) sessionStorage.setItem(LAST_ID, value.id);
    } catch (error) {
      if (controller !== latest) return;
      const message = controller.signal.aborted ? "Stopped." : `The request failed: ${error.message}`;
      output.append(el("p", { className: "error" }, message));
    }
    if (controller === latest) stopButton.hidden = true;
  }

  const form = el(
    "form",
    { className: "try", onsubmit: submit, oninput: updateCommand, onchange: updateCommand },
    body?.element,
    fields.map(({ row }) => row),
    el("div", { className: "row" }, el("button", { type: "submit", className: "primary" }, "Send"), stopButton),
    el(
      "div",
      { className: "command" },
      command,
      copyButton(() => command.textContent),
    ),
    output,
  );
  updateCommand();
  return form;
}

function parameterField(spec, parameter) {
  const schema = spec.resolve(spec.schemaOf(parameter));
  const input = schemaInput(schema, parameter.example);
  if (parameter.in === "path") {
    input.required = true;
    if (parameter.name === "id") input.value = sessionStorage.getItem(LAST_ID) ?? "";
  }
  return { parameter, input, row: labelledRow(parameter.name, input, parameter.in) };
}

function schemaInput(schema, example) {
  if (schema.enum)
    return el(
      "select",
      {},
      el("option", { value: "" }, ""),
      schema.enum.map((value) => el("option", {}, String(value))),
    );
  const shown = example ?? schema.default ?? "";
  return el("input", {
    type: "text",
    autocomplete: "off",
    spellcheck: false,
    placeholder: typeof shown === "object" ? JSON.stringify(shown) : String(shown),
  });
}

function fileInput() {
  return el("input", { type: "file", accept: "image/*" });
}

function labelledRow(name, input, note) {
  inputCount += 1;
  input.id = `try-${inputCount}`;
  return el(
    "div",
    { className: "row" },
    el("label", { for: input.id }, el("code", {}, name), el("span", { className: "note" }, ` ${note}`)),
    input,
  );
}

/** The inputs of a request body, for each of its media types. */
class Body {
  #spec;
  #content; // media type → its description
  #typeSelect;
  #inputs = el("div");
  #formFields = [];
  #input = null; // of a body that is not a form

  constructor(spec, { content }) {
    this.#spec = spec;
    this.#content = content;
    const types = Object.keys(content);
    this.#typeSelect = el(
      "select",
      { onchange: () => this.#fill() },
      types.map((type) => el("option", {}, type)),
    );
    this.element = el(
      "fieldset",
      {},
      el("legend", {}, "Body"),
      types.length > 1 ? labelledRow("Content-Type", this.#typeSelect, "") : null,
      this.#inputs,
    );
    this.#fill();
  }

  #fill() {
    const type = this.#typeSelect.value;
    const media = this.#content[type];
    if (type === FORM) {
      const schema = this.#spec.resolve(media.schema);
      this.#formFields = Object.entries(schema.properties).map(([name, raw]) => this.#formField(name, raw, schema));
      this.#inputs.replaceChildren(...this.#formFields.map(({ row }) => row));
    } else if (type === "application/json") {
      const example = Object.values(this.#spec.examples(media))[0];
      this.#input = el("textarea", { rows: 8, spellcheck: false, value: JSON.stringify(example, null, 2) });
      this.#inputs.replaceChildren(labelledRow("JSON", this.#input, ""));
    } else {
      this.#input = fileInput();
      this.#inputs.replaceChildren(
        labelledRow("file", this.#input, ""),
        el("p", { className: "note" }, inline("The options are sent as the query parameters below.")),
      );
    }
  }

  #formField(name, raw, { required }) {
    const schema = this.#spec.resolve(raw);
    const input = schema.type ? schemaInput(schema, schema.examples?.[0]) : fileInput();
    return { name, input, row: labelledRow(name, input, required.includes(name) ? "" : "optional") };
  }

  /** What was entered, as buildRequest takes it. */
  read() {
    const type = this.#typeSelect.value;
    if (type === FORM) {
      const values = this.#formFields.map(({ name, input }) => [name, input.files ? input.files[0] : input.value]);
      return { content: values.filter(([, value]) => value) };
    }
    return { type, content: this.#input.files ? (this.#input.files[0] ?? "") : this.#input.value };
  }
}
