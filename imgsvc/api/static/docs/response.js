/** Displays a response as it arrives: its status, headers and body, and event streams for as long as they last. */

import { codeBlock, details, el } from "./dom.js";

const MAX_SHOWN_CHARS = 200_000;

/** Displays it in `container`. Resolves to its JSON value; undefined where it has none. */
export async function showResponse(response, startedAt, container) {
  const elapsedMs = Math.round(performance.now() - startedAt);
  const mediaType = response.headers.get("content-type") ?? "";
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  container.replaceChildren(
    el(
      "p",
      { className: response.ok ? "success" : "error" },
      el("strong", {}, `${response.status} ${response.statusText}`),
      ` after ${elapsedMs} ms`,
    ),
    details("Headers", () => codeBlock(headers), { open: true }),
  );
  if (mediaType.startsWith("image/")) return showImage(await response.blob(), container);
  if (mediaType.startsWith("text/event-stream")) return showStream(response.body, container);
  const text = await response.text();
  const value = /[/+]json\b/.test(mediaType) ? parseJson(text) : undefined;
  const shown = value === undefined ? text : JSON.stringify(value, null, 2);
  if (shown) container.append(codeBlock(shown.slice(0, MAX_SHOWN_CHARS)));
  return value;
}

function showImage(blob, container) {
  const url = URL.createObjectURL(blob);
  const image = el("img", { src: url, alt: "The image in the response" });
  image.addEventListener("load", () => URL.revokeObjectURL(url));
  container.append(image);
}

async function showStream(body, container) {
  const text = document.createTextNode("");
  container.append(el("pre", { tabIndex: 0 }, el("code", {}, text)));
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text.data = (text.data + value).slice(-MAX_SHOWN_CHARS);
  }
}

function parseJson(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
