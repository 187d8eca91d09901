// Elements from plain data. All text goes in as text: nothing that is shown is ever read as HTML.

import { copy } from "../page/clipboard.js";

/** An element with properties (those with a dash are attributes, `on…` listeners) and children, strings or nodes. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

/** A line of text with its `code`. */
export function line(text) {
  return (text ?? "").split("`").map((part, at) => (at % 2 ? el("code", {}, part) : part));
}

/** Paragraphs and lists. */
export function prose(text) {
  return (text ?? "")
    .trim()
    .split(/\n\n+/)
    .map((block) => {
      const [numbered, dashed] = [/^\d+\. /m, /^- /m].map((mark) => block.split(mark).slice(1));
      if (numbered.length) return list("ol", numbered);
      return dashed.length ? list("ul", dashed) : el("p", {}, line(block));
    });
}

function list(tag, items) {
  return el(
    tag,
    {},
    items.map((item) => el("li", {}, line(item.trim()))),
  );
}

/** Something that can be opened. Its inside is made when it is opened first. */
export function fold(summary, inside, properties = {}) {
  const node = el("details", properties, el("summary", {}, summary));
  const fill = () => node.childElementCount === 1 && node.append(...[inside()].flat(Infinity));
  node.addEventListener("toggle", () => node.open && fill());
  if (node.open) fill();
  return node;
}

export function code(text) {
  return el("pre", { tabIndex: 0 }, el("code", {}, text));
}

/** A button that copies what `text` gives. */
export function copier(text) {
  const button = el("button", { type: "button", className: "quiet" }, "Copy");
  button.addEventListener("click", async () => {
    await copy(text());
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}
