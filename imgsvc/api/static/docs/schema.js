// A schema as a tree: one line a member, its inside behind a fold.

import { el, fold, line } from "./dom.js";

export function tree(spec, raw) {
  const schema = spec.resolve(raw) ?? {};
  if (schema.oneOf) return schema.oneOf.map((one) => choice(spec, one));
  const members = Object.entries(schema.properties ?? {}).map(([name, one]) =>
    member(spec, name, one, schema.required),
  );
  const others = schema.additionalProperties;
  if (others && typeof others === "object") members.push(member(spec, "<name>", others));
  if (schema.type === "array") return tree(spec, schema.items);
  const intro = el("p", {}, line(schema.description ?? ""));
  return members.length
    ? [intro, el("ul", { className: "schema" }, members)]
    : [intro, el("p", {}, el("code", {}, spec.typeOf(raw)))];
}

function choice(spec, raw) {
  const name = raw.$ref?.split("/").pop() ?? spec.typeOf(raw);
  return hasInside(spec, raw)
    ? fold([el("code", {}, name)], () => tree(spec, raw), { open: true })
    : el("p", {}, "or ", el("code", {}, name));
}

function member(spec, name, raw, required) {
  const schema = spec.resolve(raw);
  const facts = [el("code", { className: "name" }, name), " ", el("span", { className: "type" }, spec.typeOf(raw))];
  if (required && !required.includes(name)) facts.push(el("span", { className: "note" }, " optional"));
  if (schema.default !== undefined && schema.default !== null)
    facts.push(el("span", { className: "note" }, ` default ${JSON.stringify(schema.default)}`));
  const described = schema.description ? el("div", { className: "says" }, line(schema.description)) : null;
  const inside = hasInside(spec, raw) ? fold("members", () => tree(spec, raw)) : null;
  return el("li", {}, facts, described, inside);
}

function hasInside(spec, raw) {
  const schema = spec.resolve(raw) ?? {};
  if (schema.oneOf) return schema.oneOf.some((one) => hasInside(spec, one));
  if (schema.type === "array") return hasInside(spec, schema.items);
  return (
    Boolean(schema.properties) ||
    typeof schema.additionalProperties?.properties === "object" ||
    Boolean(schema.additionalProperties?.$ref)
  );
}
