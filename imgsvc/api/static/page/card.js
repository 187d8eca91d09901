/** An upload as it is shown: built from the page's templates, and brought up to date whenever the upload changes. */

import { announce } from "./announce.js";
import { copy } from "./clipboard.js";
import { bytes, kind, moment, size } from "./format.js";
import { paint } from "./thumbhash.js";

const cardTemplate = document.querySelector("#card");
const fileTemplate = document.querySelector("#file");
const CONFIRM_MS = 5000;
const COPIED_MS = 1500;
const THUMBNAIL_PX = 120; // a smaller variant would look coarse
const PLACEHOLDER_PX = 32;

const LABELS = {
  queued: () => "Waiting for its turn",
  uploading: ({ percent }) => (percent < 50 ? `Uploading, ${Math.floor(2 * percent)} %` : "Uploading, almost there"),
  working: ({ status }) => (status?.status === "PROGRESS" ? progress(status) : "Waiting for a worker"),
  done: ({ result: { original: o } }) => [size(o), kind(o.content_type), bytes(o.bytes)].join(" · "),
  failed: () => "Failed",
  cancelled: () => "Cancelled",
};
const STEPS = { fetch: "fetching it", decode: "reading it", encode: "making", store: "storing the results" };
const SAID = { queued: "added", done: "done", failed: "failed", cancelled: "cancelled" };

export class Card {
  #upload;
  #parts;
  #state = null;

  constructor(upload, { onRemoved, onChanged }) {
    this.#upload = upload;
    this.element = cardTemplate.content.firstElementChild.cloneNode(true);
    const part = (name) => this.element.querySelector(`.${name}`);
    const names = ["thumb", "name", "label", "when", "bar", "note", "files", "retry", "cancel", "delete"];
    this.#parts = Object.fromEntries(names.map((name) => [name, part(name)]));
    this.#parts.retry.addEventListener("click", () => upload.retry());
    this.#parts.cancel.addEventListener("click", () => upload.cancel());
    const remove = async () => (await upload.remove()) && onRemoved();
    confirmed(this.#parts.delete, () => upload.name, remove);
    upload.changed = () => {
      this.#update();
      onChanged();
    };
    this.#update();
  }

  focus() {
    (this.element.querySelector("button:not([hidden])") ?? this.#parts.name).focus();
  }

  #update() {
    const upload = this.#upload;
    const { name, label, when, bar, note, retry, cancel, delete: remove } = this.#parts;
    name.textContent = name.title = upload.name;
    label.textContent = LABELS[upload.state](upload);
    bar.hidden = !upload.isUnderWay;
    bar.value = upload.percent;
    bar.setAttribute("aria-label", `Progress of ${upload.name}`);
    note.textContent = upload.note;
    if (upload.status) {
      when.dateTime = upload.status.created_at;
      when.textContent = moment(upload.status.created_at);
    }
    if (upload.state !== this.#state) this.#turn(upload);
    const focused = document.activeElement;
    retry.hidden = !upload.canRetry;
    cancel.hidden = !upload.isUnderWay;
    remove.hidden = upload.isUnderWay;
    if (this.element.contains(focused) && focused.hidden) this.focus(); // else it would be lost with the button
  }

  /** Shows what a new state brings with it. */
  #turn(upload) {
    const wasShown = this.#state !== null;
    this.#state = this.element.dataset.state = upload.state;
    for (const button of this.element.querySelectorAll(".actions button")) {
      button.setAttribute("aria-label", `${button.textContent.trim()} ${upload.name}`);
    }
    if (upload.state === "done") this.#showResult(upload.result);
    if (wasShown && SAID[upload.state]) {
      announce(upload.name, [SAID[upload.state], upload.note].filter(Boolean).join(", "));
    }
  }

  #showResult({ variants, original, placeholder }) {
    const all = Object.entries(variants).map(([variant, file]) => ({ variant, ...file }));
    this.#parts.files.replaceChildren(...all.map((file) => fileRow(file, this.#upload.name)));
    const bySize = all.toSorted((one, other) => one.width * one.height - other.width * other.height);
    const shown = bySize.find(({ width, height }) => Math.max(width, height) >= THUMBNAIL_PX) ?? bySize.at(-1);
    if (shown) this.#showThumbnail(shown, bySize.at(-1), original, placeholder);
  }

  #showThumbnail(shown, largest, original, placeholder) {
    const { thumb } = this.#parts;
    const [canvas, image] = [thumb.querySelector("canvas"), thumb.querySelector("img")];
    const scale = PLACEHOLDER_PX / Math.max(original.width, original.height);
    if (placeholder) {
      canvas.width = Math.max(1, Math.round(original.width * scale));
      canvas.height = Math.max(1, Math.round(original.height * scale));
      thumb.style.setProperty("--main-colour", placeholder.color);
      paint(canvas, placeholder.thumbhash);
    }
    thumb.href = largest.url;
    image.alt = `Open ${this.#upload.name}`;
    image.addEventListener("load", () => thumb.classList.add("loaded"), { once: true });
    image.src = shown.url;
    image.hidden = false;
  }
}

function progress({ progress: percent, step, attempt }) {
  const [doing, variant = ""] = (step ?? "").split(":");
  const what = [STEPS[doing] ?? doing, variant].filter(Boolean).join(" ");
  return [attempt > 1 ? `Processing again (attempt ${attempt})` : "Processing", `${percent} %`, what]
    .filter(Boolean)
    .join(", ");
}

function fileRow(file, name) {
  const row = fileTemplate.content.firstElementChild.cloneNode(true);
  const url = new URL(file.url, location.href);
  row.querySelector(".variant").textContent = file.variant;
  row.querySelector(".figures").textContent = [size(file), kind(file.content_type), bytes(file.bytes)].join(" · ");
  const [copier, download] = [row.querySelector("button"), row.querySelector("a")];
  copier.setAttribute("aria-label", `Copy URL of ${file.variant} of ${name}`);
  const { href } = url;
  copier.addEventListener("click", () => copied(copier, href));
  download.setAttribute("aria-label", `Download ${file.variant} of ${name}`);
  url.searchParams.set("download", "1");
  download.href = url.href;
  return row;
}

async function copied(button, text) {
  await copy(text);
  button.classList.add("copied");
  announce(text.slice(text.lastIndexOf("/") + 1).split("?")[0], "URL copied");
  setTimeout(() => button.classList.remove("copied"), COPIED_MS);
}

/** Acts on the second click, since there is no way back from it. */
function confirmed(button, name, action) {
  const text = button.textContent;
  let timer;
  const show = (armed) => {
    clearTimeout(timer);
    button.classList.toggle("armed", armed);
    button.textContent = armed ? "Really delete?" : text;
    button.setAttribute("aria-label", `${button.textContent} ${name()}`);
  };
  button.addEventListener("click", () => {
    const isSure = button.classList.contains("armed");
    show(!isSure);
    if (isSure) action();
    else timer = setTimeout(show, CONFIRM_MS, false);
  });
  button.addEventListener("blur", () => show(false));
}
