/** Announces changes to screen readers, collected for a moment: thirty images done at once make one sentence. */

import { plural } from "./format.js";

const COLLECT_MS = 600;
const liveRegion = document.querySelector("#live");
let pending = [];

/** `change` is what happened to the image of that name, such as "done" or "deleted". */
export function announce(name, change) {
  if (pending.push({ name, change }) === 1) setTimeout(flush, COLLECT_MS);
}

function flush() {
  const groups = Map.groupBy(pending, ({ change }) => change);
  pending = [];
  const sentences = [...groups].map(([change, images]) =>
    images.length === 1 ? `${images[0].name}: ${change}.` : `${plural(images.length, "image")}: ${change}.`,
  );
  liveRegion.textContent = sentences.join(" ");
}
