/** Reads an OpenAPI document: resolves references, and sums up schemas in a few words. */

export const METHODS = ["get", "head", "post", "put", "patch", "delete"];

export class Spec {
  constructor(document) {
    this.document = document;
  }

  /** What a reference points to, merged with its siblings; any other value as it is. */
  resolve(value) {
    if (!value || typeof value.$ref !== "string") return value;
    const { $ref, ...siblings } = value;
    const found = $ref
      .slice(2)
      .split("/")
      .reduce((node, name) => node[name.replaceAll("~1", "/").replaceAll("~0", "~")], this.document);
    const target = this.resolve(found);
    const properties =
      target.properties && siblings.properties
        ? { properties: mergeProperties(target.properties, siblings.properties) }
        : {};
    return { ...target, ...siblings, ...properties };
  }

  /** All operations as {tag, method, path, operation, parameters}. */
  operations() {
    const operations = [];
    for (const [path, item] of Object.entries(this.document.paths)) {
      for (const method of METHODS.filter((name) => name in item)) {
        const operation = item[method];
        const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])].map((parameter) =>
          this.resolve(parameter),
        );
        operations.push({ tag: operation.tags[0], method, path, operation, parameters });
      }
    }
    return operations;
  }

  /** The schema of a parameter, unresolved. */
  schemaOf(parameter) {
    return parameter.schema ?? Object.values(parameter.content)[0].schema;
  }

  /** The examples of a media type by name. */
  examples(media) {
    if ("example" in media) return { Example: media.example };
    if (media.examples) {
      const entries = Object.entries(media.examples);
      return Object.fromEntries(entries.map(([name, example]) => [name, this.resolve(example).value]));
    }
    const examples = this.resolve(media.schema)?.examples ?? [];
    return Object.fromEntries(
      examples.map((example, index) => [examples.length > 1 ? `Example ${index + 1}` : "Example", example]),
    );
  }

  /** The schemas of which a value has one, if there are such; beside properties or a type they only add conditions. */
  alternativesOf(schema) {
    if (schema.properties) return undefined;
    return schema.oneOf ?? (schema.type ? undefined : schema.anyOf);
  }

  /** A schema's type in a few words, such as "integer or null, 1 to 100". */
  typeOf(raw) {
    const schema = this.resolve(raw) ?? {};
    const name = raw?.$ref?.split("/").pop();
    const alternatives = this.alternativesOf(schema);
    if (alternatives) return alternatives.map((alternative) => this.typeOf(alternative)).join(" or ");
    if (schema.enum) return schema.enum.map(String).join(" | ");
    if ("const" in schema) return String(schema.const);
    const types = [schema.type ?? "bytes"].flat();
    const type = types.map((each) => (each === "array" ? `list of ${this.typeOf(schema.items)}` : each)).join(" or ");
    if (name && schema.properties) return name;
    return [type, schema.format, rangeText(schema.minimum, schema.maximum)].filter(Boolean).join(", ");
  }
}

function mergeProperties(target, siblings) {
  const names = new Set([...Object.keys(target), ...Object.keys(siblings)]);
  return Object.fromEntries([...names].map((name) => [name, { ...target[name], ...siblings[name] }]));
}

function rangeText(minimum, maximum) {
  if (minimum === undefined) return maximum === undefined ? "" : `at most ${maximum}`;
  return maximum === undefined ? `at least ${minimum}` : `${minimum} to ${maximum}`;
}
