// An answer as it comes: status, headers and body, also one that goes on coming.

import { code, el, fold } from "./dom.js";

const SHOWN = 200_000;

/** Shows it in `place`, and returns the JSON that it is, if it is. */
export async function show(response, began, place) {
  const took = Math.round(performance.now() - began);
  const kind = response.headers.get("content-type") ?? "";
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  place.replaceChildren(
    el(
      "p",
      { className: response.ok ? "good" : "bad" },
      el("strong", {}, `${response.status} ${response.statusText}`),
      ` after ${took} ms`,
    ),
    fold("Headers", () => code(headers), { open: true }),
  );
  if (kind.startsWith("image/")) return picture(await response.blob(), place);
  if (kind.startsWith("text/event-stream")) return stream(response.body, place);
  const text = await response.text();
  const value = /[/+]json\b/.test(kind) ? parsed(text) : undefined;
  const shown = value === undefined ? text : JSON.stringify(value, null, 2);
  if (shown) place.append(code(shown.slice(0, SHOWN)));
  return value;
}

function picture(blob, place) {
  const url = URL.createObjectURL(blob);
  const image = el("img", { src: url, alt: "The image that was answered" });
  image.addEventListener("load", () => URL.revokeObjectURL(url));
  place.append(image);
}

async function stream(body, place) {
  const text = document.createTextNode("");
  place.append(el("pre", { tabIndex: 0 }, el("code", {}, text)));
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    text.data = (text.data + value).slice(-SHOWN);
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
