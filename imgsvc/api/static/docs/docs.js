// The page: reads openapi.json, and shows it.

import { el, line, prose } from "./dom.js";
import { section } from "./operation.js";
import { METHODS, Spec } from "./spec.js";

const KEY = "imgsvc.key";
const keyInput = document.getElementById("key");
const main = document.getElementById("main");

keyInput.value = sessionStorage.getItem(KEY) ?? "";
keyInput.addEventListener("input", () => sessionStorage.setItem(KEY, keyInput.value.trim()));
document.getElementById("access").addEventListener("submit", (event) => event.preventDefault());

function render(spec) {
  const { info, tags } = spec.document;
  const calls = spec.operations();
  document.getElementById("version").textContent = `OpenAPI ${spec.document.openapi}, imgsvc ${info.version}`;
  const groups = tags.map(({ name, description }) =>
    group(
      name,
      description,
      calls.filter(({ tag }) => tag === name),
      (call) => section(spec, call, () => keyInput.value.trim()),
    ),
  );
  const hooks = Object.entries(spec.document.webhooks ?? {}).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({
      method,
      path,
      operation: item[method],
      parameters: item[method].parameters ?? [],
    })),
  );
  const all = [
    ...groups,
    group("Webhooks", "What the service itself sends.", hooks, (call) => section(spec, call)),
    problems(spec),
  ];
  main.replaceChildren(el("section", { className: "intro" }, prose(info.description)), ...all.map(({ node }) => node));
  document.getElementById("calls").replaceChildren(...all.map(({ entry }) => entry));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function group(name, description, calls, show) {
  const id = name.toLowerCase();
  const links = calls.map(({ method, path, operation }) =>
    el(
      "li",
      {},
      el(
        "a",
        { href: `#${operation.operationId}` },
        el("span", { className: `method ${method}` }, method.toUpperCase()),
        " ",
        path,
      ),
    ),
  );
  return {
    node: el(
      "section",
      { "aria-labelledby": id },
      el("h2", { id }, name),
      el("p", {}, line(description)),
      calls.map(show),
    ),
    entry: el("div", {}, el("a", { className: "group", href: `#${id}` }, name), el("ul", {}, links)),
  };
}

/** Every code that an error may carry. */
function problems(spec) {
  const rows = Object.entries(spec.document.components.examples).map(([code, { summary, value }]) =>
    el(
      "tr",
      {},
      el(
        "th",
        { scope: "row" },
        el("span", { className: `status s${String(value.status)[0]}` }, String(value.status)),
        " ",
        el("code", {}, code),
      ),
      el("td", {}, line(summary)),
    ),
  );
  return {
    node: el(
      "section",
      { "aria-labelledby": "errors" },
      el("h2", { id: "errors" }, "Errors"),
      el("p", {}, "Problem documents (RFC 9457), by their code."),
      el("table", {}, el("tbody", {}, rows)),
    ),
    entry: el("div", {}, el("a", { className: "group", href: "#errors" }, "Errors")),
  };
}

try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  render(new Spec(await response.json()));
} catch (error) {
  document.getElementById("loading").textContent =
    `The document could not be loaded (${error.message}). Reload the page to try again.`;
}
