/** The dialog that lays a version over the original, with a divider to move between them. */

import { formatImage } from "./format.js";
import { savedPercent, wholeFiles } from "./result.js";

const dialog = document.querySelector("#comparison");
const [before, after] = dialog.querySelectorAll("img");
const [beforeCaption, afterCaption] = dialog.querySelectorAll(".captions span");
const stage = dialog.querySelector(".stage");
const range = dialog.querySelector("input");
const select = dialog.querySelector("select");
const alert = dialog.querySelector("[role=alert]");

let shown = null; // the upload

/** Compares the versions of an upload that show all of its original, which this page has uploaded. */
export function show(upload) {
  shown = upload;
  const files = wholeFiles(upload.result);
  select.replaceChildren(...files.map(({ variant }) => new Option(variant, variant)));
  select.value = files.at(-1).variant;
  alert.textContent = "";
  const { width, height } = upload.result.original;
  stage.style.setProperty("--aspect", width / height);
  before.src = URL.createObjectURL(upload.original);
  beforeCaption.textContent = `Original · ${formatImage(upload.result.original)}`;
  range.value = 50;
  move();
  showVersion();
  dialog.showModal();
  range.focus();
}

range.addEventListener("input", move);
select.addEventListener("change", showVersion);
dialog.querySelector("button").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  URL.revokeObjectURL(before.src);
  before.removeAttribute("src");
  after.removeAttribute("src");
  shown = null;
});
before.addEventListener("error", () => {
  if (shown) alert.textContent = "This browser cannot show the original, only the version.";
});

function move() {
  stage.style.setProperty("--divider", `${range.value}%`);
}

function showVersion() {
  const file = wholeFiles(shown.result).find(({ variant }) => variant === select.value);
  const saved = savedPercent(file, shown.result.original);
  after.src = file.url;
  after.alt = file.variant;
  const text = saved >= 0 ? `${saved} % smaller` : `${-saved} % larger`;
  afterCaption.textContent = [file.variant, formatImage(file), text].join(" · ");
}
