/** One upload: its facts, what its job went through, the deliveries to its webhook, retry and cancel. */

import { announce } from "../page/announce.js";
import { requestJson } from "../page/api.js";
import { formatBytes } from "../page/format.js";
import { RETRYABLE, Status, TERMINAL } from "../page/job-states.js";
import { el } from "../shared/el.js";
import { showDeliveries } from "./deliveries.js";
import { formatDuration, formatSecond } from "./format.js";
import { wordsFor } from "./list.js";
import { poll } from "./poll.js";

const REFRESH_MS = 2000;

const dialog = document.querySelector("#story");
const title = dialog.querySelector("h2");
const facts = dialog.querySelector(".facts");
const timeline = dialog.querySelector(".timeline");
const alert = dialog.querySelector("[role=alert]");
const retryButton = dialog.querySelector(".retry");
const cancelButton = dialog.querySelector(".cancel");

let current = null; // the upload that is shown

const EVENTS = {
  lapsed: "The worker died or was cut off",
  released: "The worker gave it back",
  failed: "Failed",
  cancelled: "Cancelled",
};

/** Opens the dialog, and follows the upload until it is closed. */
export async function openStory(id) {
  title.textContent = "Upload";
  facts.replaceChildren();
  timeline.replaceChildren();
  alert.textContent = "";
  if (!dialog.open) dialog.showModal();
  const closed = new AbortController();
  dialog.addEventListener("close", () => closed.abort(), { once: true });
  const onError = (error) => {
    alert.textContent = error.message;
    return error.isTransient;
  };
  await poll(() => load(id, closed.signal), REFRESH_MS, onError, closed.signal);
}

dialog.querySelector(".close").addEventListener("click", () => dialog.close());
retryButton.addEventListener("click", () => act("retry", "queued again"));
cancelButton.addEventListener("click", () => act("cancel", "cancelled"));

async function load(id, signal) {
  const upload = await requestJson(`/admin/uploads/${id}`, { signal });
  current = upload;
  title.textContent = upload.filename;
  facts.replaceChildren(
    ...factsOf(upload)
      .filter(([, value]) => value)
      .map(([name, value]) => fact(name, value)),
  );
  timeline.replaceChildren(...timelineOf(upload));
  const job = TERMINAL.has(upload.status) && upload.derivation ? upload.derivation : upload;
  const isRetryable = RETRYABLE.has(job.status);
  swap(retryButton, isRetryable);
  swap(cancelButton, !TERMINAL.has(job.status));
  await showDeliveries(upload, signal);
}

/** Shows a button or not; a focus that would be lost goes to the dialog. */
function swap(button, isShown) {
  if (!isShown && document.activeElement === button) dialog.querySelector(".close").focus();
  button.hidden = !isShown;
}

async function act(action, done) {
  alert.textContent = "";
  const { id, filename } = current;
  try {
    await requestJson(`/upload/${id}/${action}`, { method: "POST" });
    announce(filename, done);
    await load(id);
  } catch (error) {
    alert.textContent = error.message;
  }
}

function factsOf(upload) {
  const { started_at: started, finished_at: finished, derivation } = upload;
  return [
    ["Id", el("code", {}, upload.id)],
    ["Owner", upload.owner],
    ["Status", wordsFor(upload)],
    ["Why", upload.error?.message ?? derivation?.error?.message],
    ["Preset", upload.preset],
    ["Original", upload.bytes === null ? null : formatBytes(upload.bytes)],
    ["Fetched from", upload.url],
    ["Took", started && finished && formatDuration(Date.parse(finished) - Date.parse(started))],
    ["Last worker", upload.worker && el("code", {}, upload.worker)],
    ["In the log", upload.request_id && el("code", {}, `request_id=${upload.request_id}`)],
    ["Derivation", derivation && derivationWords(derivation)],
    ["Expires", upload.expires_at && formatSecond(upload.expires_at)],
  ];
}

function derivationWords({ revision, status, progress, variants }) {
  const words = `Revision ${revision} of ${variants.join(", ")}: ${status}, ${progress} %`;
  return el(
    "span",
    {},
    words,
    TERMINAL.has(status) ? null : el("progress", { max: 100, value: progress, "aria-label": words }),
  );
}

const fact = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));

function timelineOf({ created_at: created, started_at: started, finished_at: finished, ...upload }) {
  const ended = upload.error
    ? `Failed: ${upload.error.code}`
    : upload.status === Status.CANCELLED
      ? "Cancelled"
      : "Done";
  return [
    moment(created, "Submitted"),
    ...upload.history.map((note) => moment(note.at, noteWords(note))),
    started && moment(started, "Started for the first time"),
    finished && moment(finished, `${ended}, in attempt ${upload.attempt}`),
    upload.derivation && moment(upload.derivation.created_at, `Revision ${upload.derivation.revision} asked for`),
  ]
    .filter(Boolean)
    .sort((one, other) => one.at.localeCompare(other.at))
    .map(({ element }) => element);
}

const moment = (at, ...words) => ({
  at,
  element: el("li", {}, el("time", { dateTime: at }, formatSecond(at)), " ", words.flat()),
});

function noteWords({ event, worker, attempt, detail, request_id: requestId }) {
  return [
    EVENTS[event],
    detail ? `: ${detail}` : "",
    attempt ? `, attempt ${attempt}` : "",
    worker ? [", worker ", el("code", {}, worker)] : "",
    requestId ? [", request ", el("code", {}, requestId)] : "",
  ].flat();
}
