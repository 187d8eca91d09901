// One operation: what it does, takes and answers.

import { code, el, fold, line, prose } from "./dom.js";
import { tree } from "./schema.js";
import { tryIt } from "./try.js";

export function section(spec, call, keyOf) {
  const { method, path, operation, parameters } = call;
  const isOpen = operation.security?.length === 0;
  return el(
    "article",
    { id: operation.operationId },
    el(
      "h3",
      {},
      el(
        "a",
        { href: `#${operation.operationId}` },
        el("span", { className: `method ${method}` }, method.toUpperCase()),
        " ",
        el("code", {}, path),
      ),
    ),
    el(
      "p",
      { className: "summary" },
      operation.summary,
      isOpen ? el("span", { className: "note" }, " needs no key") : null,
    ),
    prose(operation.description),
    parameters.length ? [el("h4", {}, "Parameters"), table(spec, parameters)] : null,
    operation.requestBody ? [el("h4", {}, "Body"), bodies(spec, operation.requestBody)] : null,
    el("h4", {}, "Answers"),
    Object.entries(operation.responses).map(([status, one]) => answer(spec, status, spec.resolve(one))),
    keyOf ? fold("Try it", () => tryIt(spec, call, keyOf), { className: "trying" }) : null,
  );
}

function table(spec, parameters) {
  const rows = parameters.map((one) => {
    const schema = one.schema ?? Object.values(one.content)[0].schema;
    const resolved = spec.resolve(schema);
    const facts = [
      one.required ? "required" : null,
      resolved.default === undefined ? null : `default ${resolved.default}`,
    ]
      .filter(Boolean)
      .join(", ");
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, one.name), el("span", { className: "note" }, ` ${one.in}`)),
      el(
        "td",
        {},
        el("span", { className: "type" }, spec.typeOf(schema)),
        facts ? el("span", { className: "note" }, ` ${facts}`) : null,
        el("div", {}, line(one.description)),
      ),
    );
  });
  return el("table", {}, el("tbody", {}, rows));
}

function bodies(spec, raw) {
  const groups = new Map(); // media types that take the same are shown once
  for (const [type, media] of Object.entries(spec.resolve(raw).content)) {
    const key = JSON.stringify(media);
    groups.set(key, { types: [...(groups.get(key)?.types ?? []), type], media });
  }
  return [...groups.values()].map(({ types, media }) =>
    fold(
      types.map((type) => el("code", {}, `${type} `)),
      () => inside(spec, media),
    ),
  );
}

function inside(spec, media) {
  const examples = Object.entries(spec.examples(media)).map(([name, value]) =>
    fold(name, () => code(typeof value === "string" ? value : JSON.stringify(value, null, 2))),
  );
  return [...tree(spec, media.schema), ...examples];
}

function answer(spec, status, response) {
  const codes = Object.values(response.content ?? {}).flatMap(({ schema }) => schema.properties?.code?.enum ?? []);
  const told = codes.length > 1 ? codes.map((one) => [" ", el("code", {}, one)]) : [" ", line(response.description)];
  const summary = [el("span", { className: `status s${status[0]}` }, status), told];
  const headers = Object.entries(response.headers ?? {}).map(([name, raw]) => header(name, spec.resolve(raw)));
  return fold(summary, () => [
    codes.length > 1 ? prose(response.description) : [],
    response.content ? bodies(spec, { content: response.content }) : el("p", { className: "note" }, "No body."),
    headers.length ? fold("Headers", () => el("ul", { className: "schema" }, headers)) : [],
  ]);
}

function header(name, { required, description }) {
  return el(
    "li",
    {},
    el("code", { className: "name" }, name),
    required ? null : el("span", { className: "note" }, " optional"),
    el("div", { className: "says" }, line(description)),
  );
}
