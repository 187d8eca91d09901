/** Says to screen readers what has changed, some at a time: thirty images that end at once are one sentence. */

import { count } from "./format.js";

const COLLECT_MS = 600;
const region = document.querySelector("#live");
let waiting = [];

/** `what` became of the image of that name: "done", "deleted". */
export function announce(name, what) {
  if (waiting.push({ name, what }) === 1) setTimeout(say, COLLECT_MS);
}

function say() {
  const groups = Map.groupBy(waiting, ({ what }) => what);
  waiting = [];
  const sentences = [...groups].map(([what, all]) =>
    all.length === 1 ? `${all[0].name}: ${what}.` : `${count(all.length, "image")}: ${what}.`,
  );
  region.textContent = sentences.join(" ");
}
