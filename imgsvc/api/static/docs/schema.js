/** A schema as a tree: one line for each property, nested properties folded. */

import { details, el, inline } from "./dom.js";

export function schemaTree(spec, raw) {
  const schema = spec.resolve(raw) ?? {};
  const alternatives = spec.alternativesOf(schema);
  if (alternatives) return alternatives.map((alternative) => alternativeOf(spec, alternative));
  const properties = Object.entries(schema.properties ?? {}).map(([name, property]) =>
    propertyItem(spec, name, property, schema.required),
  );
  const additional = schema.additionalProperties;
  if (additional && typeof additional === "object") properties.push(propertyItem(spec, "<name>", additional));
  if (schema.type === "array") return schemaTree(spec, schema.items);
  const intro = el("p", {}, inline(schema.description ?? ""));
  return properties.length
    ? [intro, el("ul", { className: "schema" }, properties)]
    : [intro, el("p", {}, el("code", {}, spec.typeOf(raw)))];
}

function alternativeOf(spec, raw) {
  const name = raw.$ref?.split("/").pop() ?? spec.typeOf(raw);
  return hasProperties(spec, raw)
    ? details([el("code", {}, name)], () => schemaTree(spec, raw), { open: true })
    : el("p", {}, "or ", el("code", {}, name));
}

function propertyItem(spec, name, raw, required) {
  const schema = spec.resolve(raw);
  const parts = [el("code", { className: "name" }, name), " ", el("span", { className: "type" }, spec.typeOf(raw))];
  if (required && !required.includes(name)) parts.push(el("span", { className: "note" }, " optional"));
  if (schema.default !== undefined && schema.default !== null)
    parts.push(el("span", { className: "note" }, ` default ${JSON.stringify(schema.default)}`));
  const description = schema.description ? el("div", { className: "description" }, inline(schema.description)) : null;
  const nested = hasProperties(spec, raw) ? details("properties", () => schemaTree(spec, raw)) : null;
  return el("li", {}, parts, description, nested);
}

function hasProperties(spec, raw) {
  const schema = spec.resolve(raw) ?? {};
  const alternatives = spec.alternativesOf(schema);
  if (alternatives) return alternatives.some((alternative) => hasProperties(spec, alternative));
  if (schema.type === "array") return hasProperties(spec, schema.items);
  return (
    Boolean(schema.properties) ||
    typeof schema.additionalProperties?.properties === "object" ||
    Boolean(schema.additionalProperties?.$ref)
  );
}
