/** All uploads on the page, newest first: those that are added here, and below them those that were there before. */

import { announce } from "./announce.js";
import { call } from "./api.js";
import { Card } from "./card.js";
import { count } from "./format.js";
import { Upload } from "./upload.js";

const PAGE = 12;
const MOST_UNDER_WAY = 200; // as many as one page of the list of uploads can tell of

const section = document.querySelector("#uploads");
const list = section.querySelector("ul");
const summary = section.querySelector("#summary");
const older = section.querySelector("#older");
const complaint = section.querySelector("#complaint");

const shown = new Map(); // upload → its card
let cursor = null;

/** Uploads files with that preset. Returns those that were too many. */
export function add(files, preset) {
  const room = Math.max(0, MOST_UNDER_WAY - underWay());
  const uploads = files.slice(0, room).map((file) => Upload.ofFile(file, preset));
  list.prepend(...uploads.map((upload) => show(upload).element)); // the first one above: it is sent first
  for (const upload of uploads) {
    announce(upload.name, "added");
    upload.run();
  }
  return files.slice(room);
}

/** Whether something would be lost with the page. */
export const hasUnsent = () => [...shown.keys()].some((upload) => upload.isUnsent);

/** Shows the next page of uploads that were there before. */
export async function loadOlder() {
  complaint.textContent = "";
  older.disabled = true;
  try {
    const { uploads, next } = await call(
      `/uploads?limit=${PAGE}${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`,
    );
    const known = new Set([...shown.keys()].map(({ id }) => id));
    for (const status of uploads.filter(({ id }) => !known.has(id))) {
      const upload = Upload.ofStatus(status);
      list.append(show(upload).element);
      upload.run();
    }
    cursor = next;
    older.textContent = "Show older";
    older.hidden = next === null;
  } catch (error) {
    complaint.textContent = error.message;
    older.textContent = "Try again";
    older.hidden = false;
  } finally {
    older.disabled = false;
    summarize();
  }
}

older.addEventListener("click", loadOlder);

function show(upload) {
  const card = new Card(upload, { onRemoved: () => remove(upload), onChanged: summarize });
  shown.set(upload, card);
  summarize();
  return card;
}

function remove(upload) {
  const { element } = shown.get(upload);
  const beside = element.nextElementSibling ?? element.previousElementSibling;
  const next = [...shown.values()].find((card) => card.element === beside);
  element.remove();
  shown.delete(upload);
  announce(upload.name, "deleted");
  summarize();
  if (next) next.focus();
  else document.querySelector("#choose").focus();
}

const underWay = () => [...shown.keys()].filter((upload) => upload.isUnderWay).length;

function summarize() {
  const busy = underWay();
  section.hidden = shown.size === 0 && !complaint.textContent;
  summary.textContent = busy ? `${count(busy, "image")} under way` : "";
}
