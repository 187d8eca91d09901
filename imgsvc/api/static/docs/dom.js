/** Builds elements from plain data. All text is inserted as text: nothing is ever parsed as HTML. */

import { copy } from "../shared/clipboard.js";
import { el } from "../shared/el.js";

export { el };

const COPIED_MS = 1500;

/** Inline Markdown: text with `code`. */
export function inline(text) {
  return (text ?? "").split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

/** Block Markdown: paragraphs and lists. */
export function blocks(text) {
  return (text ?? "")
    .trim()
    .split(/\n\n+/)
    .map((block) => {
      const [numbered, bulleted] = [/^\d+\. /m, /^- /m].map((marker) => block.split(marker).slice(1));
      if (numbered.length) return list("ol", numbered);
      return bulleted.length ? list("ul", bulleted) : el("p", {}, inline(block));
    });
}

function list(tag, items) {
  return el(
    tag,
    {},
    items.map((item) => el("li", {}, inline(item.trim()))),
  );
}

/** A disclosure widget. `content` builds what is inside when it is opened for the first time. */
export function details(summary, content, properties = {}) {
  const node = el("details", properties, el("summary", {}, summary));
  const fill = () => node.childElementCount === 1 && node.append(...[content()].flat(Infinity));
  node.addEventListener("toggle", () => node.open && fill());
  if (node.open) fill();
  return node;
}

export function codeBlock(text) {
  return el("pre", { tabIndex: 0 }, el("code", {}, text));
}

/** A button that copies what `text` returns. */
export function copyButton(text) {
  const button = el("button", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    button.textContent = await copy(text()).then(
      () => "Copied",
      () => "Copying is not allowed",
    );
    setTimeout(() => {
      button.textContent = "Copy";
    }, COPIED_MS);
  });
  return button;
}
