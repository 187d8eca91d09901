/** The rows of a card that list an upload's files. */

import { copy } from "../shared/clipboard.js";
import { announce } from "./announce.js";
import { formatImage, plural } from "./format.js";
import { filesOf, savedPercent } from "./result.js";

const template = document.querySelector("#file-template");
const COPIED_MS = 1500;

/** One row a variant. `onError` is called with a message, and with "" where there is none any more. */
export function fileRows(upload, onError) {
  return filesOf(upload.result).map((file) => fileRow(upload, file, onError));
}

function fileRow({ name, result }, file, onError) {
  const row = template.content.firstElementChild.cloneNode(true);
  const part = (selector) => row.querySelector(selector);
  const url = new URL(file.url, location.href);
  const subject = `${file.variant} of ${name}`;
  part(".variant").textContent = file.variant;
  part(".properties").textContent = [formatImage(file), formatSaved(file, result.original), formatCount(file)]
    .filter(Boolean)
    .join(" · ");
  const offerCopy = (button, what, text) => {
    button.hidden = false;
    button.setAttribute("aria-label", `Copy ${what} of ${subject}`);
    button.addEventListener("click", () => copyText(button, what, text, { name, file: url, onError }));
  };
  offerCopy(part(".url"), "URL", url.href);
  if (file.html) offerCopy(part(".html"), "HTML", file.html);
  const download = part("a");
  download.setAttribute("aria-label", `Download ${subject}`);
  const downloadUrl = new URL(url);
  downloadUrl.searchParams.set("download", "1");
  download.href = downloadUrl.href;
  return row;
}

const formatSaved = (file, original) => {
  const percent = savedPercent(file, original);
  return percent > 0 ? `${percent} % smaller` : "";
};

const formatCount = ({ count }) => (count ? plural(count, "file") : "");

async function copyText(button, what, text, { name, file, onError }) {
  try {
    await copy(text);
  } catch {
    onError(`The ${what} could not be copied. The browser does not allow it.`);
    announce(name, `${what} not copied`);
    return;
  }
  onError("");
  button.classList.add("copied");
  announce(file.pathname.split("/").at(-1), `${what} copied`);
  setTimeout(() => button.classList.remove("copied"), COPIED_MS);
}
