/** How an upload is displayed: a copy of the page's template, updated whenever the upload changes. */

import { announce } from "./announce.js";
import * as comparison from "./comparison.js";
import * as editor from "./editor.js";
import { fileRows } from "./file-rows.js";
import { formatImage, formatTime } from "./format.js";
import { Status } from "./job-states.js";
import { filesOf, wholeFiles } from "./result.js";
import { isDeriving } from "./status-updates.js";
import { paint } from "./thumbhash.js";

const cardTemplate = document.querySelector("#card-template");
const CONFIRM_TIMEOUT_MS = 5000;
const MIN_THUMBNAIL_PX = 120; // a smaller variant would look coarse
const PLACEHOLDER_PX = 32;

const LABELS = {
  queued: () => "Waiting to upload",
  uploading: ({ percent }) => (percent < 50 ? `Uploading, ${Math.floor(2 * percent)} %` : "Uploading, almost done"),
  processing: ({ status }) => processingLabel(status && isDeriving(status) ? status.derivation : status),
  done: ({ result }) => formatImage(result.original),
  failed: () => "Failed",
  cancelled: () => "Cancelled",
};
const STEPS = {
  fetch: "downloading",
  gate: "asking whether it may be shown",
  decode: "reading the image",
  encode: "creating",
  store: "saving the files",
};
const ANNOUNCEMENTS = { queued: "added", done: "done", failed: "failed", cancelled: "cancelled" };
const BUTTONS = ["retry", "cancel", "compare", "adjust", "delete"];
const PARTS = ["thumbnail", "name", "label", "time", "progress", "error", "note", "files", ...BUTTONS];

export class Card {
  #upload;
  #parts;
  #state = null;

  constructor(upload, { onRemoved, onChanged }) {
    this.#upload = upload;
    this.element = cardTemplate.content.firstElementChild.cloneNode(true);
    this.#parts = Object.fromEntries(PARTS.map((name) => [name, this.element.querySelector(`.${name}`)]));
    this.#parts.retry.addEventListener("click", () => upload.retry());
    this.#parts.cancel.addEventListener("click", () => upload.cancel());
    this.#parts.compare.addEventListener("click", () => comparison.show(upload));
    this.#parts.adjust.addEventListener("click", () => editor.show(upload));
    const remove = async () => (await upload.remove()) && onRemoved();
    onConfirmed(this.#parts.delete, () => upload.name, remove);
    upload.onChange = () => {
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
    const { name, label, time, progress, error, note } = this.#parts;
    name.textContent = upload.name;
    name.title = upload.name;
    label.textContent = LABELS[upload.state](upload);
    progress.hidden = !upload.isInProgress;
    progress.value = upload.percent;
    progress.setAttribute("aria-label", `Progress of ${upload.name}`);
    error.textContent = upload.errorMessage;
    note.textContent = upload.note;
    if (upload.status) {
      time.dateTime = upload.status.created_at;
      time.textContent = formatTime(upload.status.created_at);
    }
    if (upload.state !== this.#state) this.#showState();
    const focused = document.activeElement;
    this.#showButtons();
    if (this.element.contains(focused) && focused.hidden) this.focus(); // a hidden button loses the focus
  }

  #showButtons() {
    const upload = this.#upload;
    const { retry, cancel, compare, adjust, delete: remove } = this.#parts;
    const isDone = upload.state === "done";
    retry.hidden = !upload.canRetry;
    cancel.hidden = !upload.isInProgress;
    compare.hidden = !isDone || !upload.original || wholeFiles(upload.result).length === 0;
    adjust.hidden = !isDone || (!upload.original && wholeFiles(upload.result).length === 0);
    remove.hidden = upload.isInProgress;
  }

  #showState() {
    const upload = this.#upload;
    const isNew = this.#state === null;
    this.#state = upload.state;
    this.element.dataset.state = upload.state;
    for (const button of this.element.querySelectorAll(".actions button")) {
      button.setAttribute("aria-label", `${button.textContent.trim()} ${upload.name}`);
    }
    if (upload.state === "done") this.#showResult(upload.result);
    if (!isNew && ANNOUNCEMENTS[upload.state]) {
      announce(upload.name, [ANNOUNCEMENTS[upload.state], upload.errorMessage].filter(Boolean).join(", "));
    }
  }

  #showResult(result) {
    const { original, placeholder } = result;
    const files = filesOf(result);
    this.#parts.files.replaceChildren(...fileRows(this.#upload, (text) => this.#showError(text)));
    const bySize = files.toSorted((a, b) => a.width * a.height - b.width * b.height);
    const shown = bySize.find(({ width, height }) => Math.max(width, height) >= MIN_THUMBNAIL_PX) ?? bySize.at(-1);
    if (shown) this.#showThumbnail(shown, bySize.at(-1), original, placeholder);
  }

  #showThumbnail(shown, largest, original, placeholder) {
    const { thumbnail } = this.#parts;
    const [canvas, image] = [thumbnail.querySelector("canvas"), thumbnail.querySelector("img")];
    const scale = PLACEHOLDER_PX / Math.max(original.width, original.height);
    if (placeholder) {
      canvas.width = Math.max(1, Math.round(original.width * scale));
      canvas.height = Math.max(1, Math.round(original.height * scale));
      thumbnail.style.setProperty("--main-color", placeholder.color);
      paint(canvas, placeholder.thumbhash);
    }
    thumbnail.href = largest.url;
    image.alt = `Open ${this.#upload.name}`;
    image.addEventListener("load", () => thumbnail.classList.add("loaded"), { once: true });
    image.src = shown.url;
    image.hidden = false;
  }

  #showError(text) {
    this.#parts.error.textContent = text;
  }
}

function processingLabel(status) {
  if (status?.step === "held") return "Held back until somebody has looked at it";
  return status?.status === Status.PROGRESS ? progressLabel(status) : "Waiting to be processed";
}

function progressLabel({ progress, step, attempt }) {
  const [name, variant = ""] = (step ?? "").split(":");
  const activity = [STEPS[name] ?? name, variant].filter(Boolean).join(" ");
  return [attempt > 1 ? `Processing again (attempt ${attempt})` : "Processing", `${progress} %`, activity]
    .filter(Boolean)
    .join(", ");
}

/** Acts on a second click only, since the action cannot be undone. */
function onConfirmed(button, name, action) {
  const text = button.textContent;
  let timer;
  const setConfirming = (isConfirming) => {
    clearTimeout(timer);
    button.classList.toggle("confirming", isConfirming);
    button.textContent = isConfirming ? "Really delete?" : text;
    button.setAttribute("aria-label", `${button.textContent} ${name()}`);
  };
  button.addEventListener("click", () => {
    const isConfirmed = button.classList.contains("confirming");
    setConfirming(!isConfirmed);
    if (isConfirmed) action();
    else timer = setTimeout(setConfirming, CONFIRM_TIMEOUT_MS, false);
  });
  button.addEventListener("blur", () => setConfirming(false));
}
