// Reading an OpenAPI document: references, and what a schema means in a word.

export const METHODS = ["get", "head", "post", "put", "patch", "delete"];

export class Spec {
  constructor(document) {
    this.document = document;
  }

  /** What a reference points to, with what stands beside it; anything else as it is. */
  resolve(value) {
    if (!value || typeof value.$ref !== "string") return value;
    const { $ref, ...beside } = value;
    const found = $ref
      .slice(2)
      .split("/")
      .reduce((at, name) => at[name.replaceAll("~1", "/").replaceAll("~0", "~")], this.document);
    const target = this.resolve(found);
    const properties =
      target.properties && beside.properties ? { properties: merged(target.properties, beside.properties) } : {};
    return { ...target, ...beside, ...properties };
  }

  /** All operations: {tag, method, path, operation, parameters}. */
  operations() {
    const all = [];
    for (const [path, item] of Object.entries(this.document.paths)) {
      for (const method of METHODS.filter((name) => name in item)) {
        const operation = item[method];
        const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((one) =>
          this.resolve(one),
        );
        all.push({ tag: operation.tags[0], method, path, operation, parameters });
      }
    }
    return all;
  }

  /** The examples of a media type, by name. */
  examples(media) {
    if ("example" in media) return { Example: media.example };
    if (media.examples) {
      return Object.fromEntries(Object.entries(media.examples).map(([name, one]) => [name, this.resolve(one).value]));
    }
    const own = this.resolve(media.schema)?.examples ?? [];
    return Object.fromEntries(own.map((one, at) => [own.length > 1 ? `Example ${at + 1}` : "Example", one]));
  }

  /** A schema's type in a few words, such as "integer or null, 1 to 100". */
  typeOf(raw) {
    const schema = this.resolve(raw) ?? {};
    const name = raw?.$ref?.split("/").pop();
    if (schema.oneOf) return schema.oneOf.map((one) => this.typeOf(one)).join(" or ");
    if (schema.enum) return schema.enum.map(String).join(" | ");
    if ("const" in schema) return String(schema.const);
    if (schema.type === "array") return `list of ${this.typeOf(schema.items)}`;
    const type = [schema.type ?? "bytes"].flat().join(" or ");
    if (name && schema.properties) return name;
    return [type, schema.format, range(schema.minimum, schema.maximum)].filter(Boolean).join(", ");
  }
}

function merged(one, other) {
  return Object.fromEntries(
    [...new Set([...Object.keys(one), ...Object.keys(other)])].map((key) => [key, { ...one[key], ...other[key] }]),
  );
}

function range(low, high) {
  if (low === undefined) return high === undefined ? "" : `at most ${high}`;
  return high === undefined ? `at least ${low}` : `${low} to ${high}`;
}
