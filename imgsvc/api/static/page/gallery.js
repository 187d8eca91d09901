/** All uploads on the page, newest first: those added here, and below them those made earlier. */

import { announce } from "./announce.js";
import { requestJson } from "./api.js";
import { Card } from "./card.js";
import { plural } from "./format.js";
import { Upload } from "./upload.js";

const PAGE_SIZE = 12;
export const MAX_IN_PROGRESS = 200; // as many as one page of the list of uploads holds

const section = document.querySelector("#uploads");
const list = section.querySelector("ul");
const summary = section.querySelector("#summary");
const olderButton = section.querySelector("#older");
const listError = section.querySelector("#list-error");

const cards = new Map(); // upload → its card
let cursor = null;

/** Uploads files with a preset. Returns the files beyond MAX_IN_PROGRESS. */
export function add(files, preset) {
  const count = Math.max(0, MAX_IN_PROGRESS - inProgress());
  const uploads = files.slice(0, count).map((file) => Upload.ofFile(file, preset));
  list.prepend(...uploads.map((upload) => addCard(upload).element)); // the first one on top: it is sent first
  for (const upload of uploads) {
    announce(upload.name, "added");
    upload.run();
  }
  return files.slice(count);
}

/** Whether files would be lost if the page were closed. */
export const hasUnsent = () => [...cards.keys()].some((upload) => upload.isUnsent);

/** Shows the next page of uploads made earlier. */
export async function loadOlder() {
  listError.textContent = "";
  olderButton.disabled = true;
  try {
    const query = cursor ? `&cursor=${encodeURIComponent(cursor)}` : "";
    const { uploads, next } = await requestJson(`/uploads?limit=${PAGE_SIZE}${query}`);
    const shown = new Set([...cards.keys()].map(({ id }) => id));
    for (const status of uploads.filter(({ id }) => !shown.has(id))) {
      const upload = Upload.ofStatus(status);
      list.append(addCard(upload).element);
      upload.run();
    }
    cursor = next;
    olderButton.textContent = "Show older";
    olderButton.hidden = next === null;
  } catch (error) {
    listError.textContent = error.message;
    olderButton.textContent = "Try again";
    olderButton.hidden = false;
  } finally {
    olderButton.disabled = false;
    update();
  }
}

olderButton.addEventListener("click", loadOlder);

function addCard(upload) {
  const card = new Card(upload, { onRemoved: () => remove(upload), onChanged: update });
  cards.set(upload, card);
  update();
  return card;
}

function remove(upload) {
  const { element } = cards.get(upload);
  const neighbour = element.nextElementSibling ?? element.previousElementSibling;
  const next = [...cards.values()].find((card) => card.element === neighbour);
  element.remove();
  cards.delete(upload);
  announce(upload.name, "deleted");
  update();
  if (next) next.focus();
  else document.querySelector("#choose").focus();
}

const inProgress = () => [...cards.keys()].filter((upload) => upload.isInProgress).length;

function update() {
  const count = inProgress();
  section.hidden = cards.size === 0 && !listError.textContent;
  summary.textContent = count ? `${plural(count, "image")} in progress` : "";
}
