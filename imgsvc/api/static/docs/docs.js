/** Loads openapi.json and displays it. */

import { storedKey, storeKey } from "../shared/api-key.js";
import { blocks, el, inline } from "./dom.js";
import { operationArticle } from "./operation.js";
import { METHODS, Spec } from "./spec.js";

const keyInput = document.getElementById("key");
const main = document.getElementById("main");

keyInput.value = storedKey();
keyInput.addEventListener("input", () => storeKey(keyInput.value));
document.getElementById("key-form").addEventListener("submit", (event) => event.preventDefault());

function render(spec) {
  const { info, tags, openapi, webhooks = {} } = spec.document;
  const operations = spec.operations();
  document.getElementById("version").textContent = `OpenAPI ${openapi}, imgsvc ${info.version}`;
  const groups = tags.map(({ name, description }) =>
    group(
      name,
      description,
      operations.filter(({ tag }) => tag === name),
      (operation) => operationArticle(spec, operation, { canTry: true }),
    ),
  );
  const webhookOperations = Object.entries(webhooks).flatMap(([path, item]) =>
    METHODS.filter((method) => method in item).map((method) => ({
      method,
      path,
      operation: item[method],
      parameters: item[method].parameters ?? [],
    })),
  );
  const sections = [
    ...groups,
    group("Webhooks", "Requests that the service sends.", webhookOperations, (webhook) =>
      operationArticle(spec, webhook, { canTry: false }),
    ),
    errors(spec),
  ];
  main.replaceChildren(
    el("section", { className: "intro" }, blocks(info.description)),
    ...sections.map(({ section }) => section),
  );
  document.getElementById("operations").replaceChildren(...sections.map(({ navigation }) => navigation));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

/** The section of one tag, and its part of the navigation. */
function group(name, description, operations, toArticle) {
  const id = name.toLowerCase();
  const links = operations.map(({ method, path, operation }) =>
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
    section: el(
      "section",
      { "aria-labelledby": id },
      el("h2", { id }, name),
      el("p", {}, inline(description)),
      operations.map(toArticle),
    ),
    navigation: el("div", {}, el("a", { className: "group", href: `#${id}` }, name), el("ul", {}, links)),
  };
}

/** The section of all error codes, and its part of the navigation. */
function errors(spec) {
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
      el("td", {}, inline(summary)),
    ),
  );
  return {
    section: el(
      "section",
      { "aria-labelledby": "errors" },
      el("h2", { id: "errors" }, "Errors"),
      el("p", {}, "Problem details (RFC 9457) by code."),
      el("table", {}, el("tbody", {}, rows)),
    ),
    navigation: el("div", {}, el("a", { className: "group", href: "#errors" }, "Errors")),
  };
}

try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`status ${response.status}`);
  render(new Spec(await response.json()));
} catch (error) {
  document.getElementById("loading").textContent =
    `openapi.json could not be loaded (${error.message}). Reload the page to try again.`;
}
