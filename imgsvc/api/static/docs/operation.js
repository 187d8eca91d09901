/** One operation: its description, parameters, bodies and responses. */

import { blocks, codeBlock, details, el, inline } from "./dom.js";
import { schemaTree } from "./schema.js";
import { tryForm } from "./try.js";

export function operationArticle(spec, { method, path, operation, parameters }, { canTry }) {
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
      isOpen ? el("span", { className: "note" }, " no API key needed") : null,
    ),
    blocks(operation.description),
    parameters.length ? [el("h4", {}, "Parameters"), parameterTable(spec, parameters)] : null,
    operation.requestBody ? [el("h4", {}, "Body"), bodies(spec, operation.requestBody)] : null,
    el("h4", {}, "Responses"),
    Object.entries(operation.responses).map(([status, raw]) => responseDetails(spec, status, spec.resolve(raw))),
    canTry
      ? details("Try it", () => tryForm(spec, { method, path, operation, parameters }), { className: "try-it" })
      : null,
  );
}

function parameterTable(spec, parameters) {
  const rows = parameters.map((parameter) => {
    const schema = spec.schemaOf(parameter);
    const resolved = spec.resolve(schema);
    const notes = [
      parameter.required ? "required" : null,
      resolved.default === undefined ? null : `default ${resolved.default}`,
    ]
      .filter(Boolean)
      .join(", ");
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, parameter.name), el("span", { className: "note" }, ` ${parameter.in}`)),
      el(
        "td",
        {},
        el("span", { className: "type" }, spec.typeOf(schema)),
        notes ? el("span", { className: "note" }, ` ${notes}`) : null,
        el("div", {}, inline(parameter.description)),
      ),
    );
  });
  return el("table", {}, el("tbody", {}, rows));
}

function bodies(spec, raw) {
  const groups = new Map(); // media types with the same schema and examples are shown together
  for (const [type, media] of Object.entries(spec.resolve(raw).content)) {
    const key = JSON.stringify(media);
    groups.set(key, { types: [...(groups.get(key)?.types ?? []), type], media });
  }
  return [...groups.values()].map(({ types, media }) =>
    details(
      types.map((type) => el("code", {}, `${type} `)),
      () => bodyContent(spec, media),
    ),
  );
}

function bodyContent(spec, media) {
  const examples = Object.entries(spec.examples(media)).map(([name, value]) =>
    details(name, () => codeBlock(typeof value === "string" ? value : JSON.stringify(value, null, 2))),
  );
  return [...schemaTree(spec, media.schema), ...examples];
}

function responseDetails(spec, status, response) {
  const codes = Object.values(response.content ?? {}).flatMap(({ schema }) => schema.properties?.code?.enum ?? []);
  const hasCodes = codes.length > 1;
  const title = hasCodes ? codes.map((code) => [" ", el("code", {}, code)]) : [" ", inline(response.description)];
  const summary = [el("span", { className: `status s${status[0]}` }, status), title];
  const headers = Object.entries(response.headers ?? {}).map(([name, raw]) => headerItem(name, spec.resolve(raw)));
  return details(summary, () => [
    hasCodes ? blocks(response.description) : [],
    response.content ? bodies(spec, { content: response.content }) : el("p", { className: "note" }, "No body."),
    headers.length ? details("Headers", () => el("ul", { className: "schema" }, headers)) : [],
  ]);
}

function headerItem(name, { required, description }) {
  return el(
    "li",
    {},
    el("code", { className: "name" }, name),
    required ? null : el("span", { className: "note" }, " optional"),
    el("div", { className: "description" }, inline(description)),
  );
}
