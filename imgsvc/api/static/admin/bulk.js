/** Retry or cancel all that match: asks first, with their number, and shows how far it is. */

import { announce } from "../page/announce.js";
import { requestJson } from "../page/api.js";
import { plural } from "../page/format.js";
import { Status } from "../page/job-states.js";
import { el } from "../shared/el.js";
import { queryOf } from "./filter.js";
import { formatSecond } from "./format.js";

const dialog = document.querySelector("#confirm");
const title = dialog.querySelector("h2");
const count = dialog.querySelector(".count");
const explanation = dialog.querySelector(".explanation");
const alert = dialog.querySelector("[role=alert]");
const confirmButton = dialog.querySelector("[value=yes]");
const section = document.querySelector("#bulk");
const list = section.querySelector("ul");

/** What each action is for, and what it does. */
const ACTIONS = {
  retry: {
    words: "Retry",
    statuses: [Status.FAILURE, Status.CANCELLED],
    unless: [Status.FAILURE],
    explanation: "They are queued again, and count against the limits of their owners.",
  },
  cancel: {
    words: "Cancel",
    statuses: [Status.PENDING, Status.PROGRESS],
    unless: [Status.PENDING, Status.PROGRESS],
    explanation: "Their jobs are stopped, and their files are removed. Originals are kept.",
  },
};
const expected = new Map(); // action's id → how many uploads matched when it began

/** Whether an action can be meant of what this filter has. */
export const isFor = (action, { status }) => !status || ACTIONS[action].statuses.includes(status);

/** Asks, and begins the action if the answer is yes. Resolves to whether it began. */
export async function begin(action, filter) {
  const { words, unless } = ACTIONS[action];
  title.textContent = `${words} all that match`;
  explanation.textContent = ACTIONS[action].explanation;
  alert.textContent = "";
  confirmButton.disabled = true;
  confirmButton.textContent = words;
  dialog.returnValue = "";
  const where = { ...filter, created_before: new Date().toISOString() };
  const closed = new AbortController();
  const answer = new Promise((resolve) =>
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }),
  );
  dialog.showModal();
  const counting = countAll(filter.status ? [filter.status] : unless, where, closed.signal);
  counting.catch(() => {}); // it is shown
  const isMeant = await answer;
  closed.abort();
  if (!isMeant) return false;
  const begun = await requestJson(`/admin/${action}`, { method: "POST", body: { where } });
  expected.set(begun.id, await counting);
  announce(`${words} all`, "begun");
  return true;
}

/** Counts what matches, part by part, and shows the number as it grows. */
async function countAll(statuses, where, signal) {
  let total = 0;
  try {
    for (const status of statuses) {
      for (let cursor = null; ; ) {
        const part = await requestJson(`/admin/count?${queryOf({ ...where, status }, { cursor })}`, { signal });
        total += part.count;
        cursor = part.next;
        if (cursor === null) break;
        count.textContent = `${plural(total, "upload")} so far…`;
      }
    }
    count.textContent = total ? plural(total, "upload") : "Nothing matches.";
    confirmButton.disabled = total === 0;
    if (total) confirmButton.focus();
  } catch (error) {
    if (!signal.aborted) alert.textContent = error.message;
    throw error;
  }
  return total;
}

/** Shows the actions under way, and the latest of the others. Resolves to whether any is under way. */
export async function showActions(signal) {
  const { actions } = await requestJson("/admin/actions", { signal });
  const shown = actions.filter(({ status }, at) => status === "RUNNING" || at < 3);
  section.hidden = shown.length === 0;
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("li").dataset.id : null;
  list.replaceChildren(...shown.map(item));
  if (focused) list.querySelector(`[data-id="${focused}"] button`)?.focus();
  return actions.some(({ status }) => status === "RUNNING");
}

function item(action) {
  const { id, status, done, refused, waiting_for: waitingFor } = action;
  const of = expected.has(id) ? ` of ${expected.get(id)}` : "";
  const left = refused ? `, ${refused} left as they were` : "";
  const waits = waitingFor ? `, waits: ${waitingFor === "OVERLOADED" ? "the queue is full" : "an owner's rate"}` : "";
  const words = `${ACTIONS[action.action].words} ${wordsOf(action.where)}: ${done}${of}${left}${waits}`;
  const isRunning = status === "RUNNING";
  const made = el(
    "li",
    {},
    el(
      "p",
      {},
      words,
      " ",
      el("span", { className: "hint" }, `${status.toLowerCase()}, since ${formatSecond(action.created_at)}`),
    ),
    isRunning && expected.get(id)
      ? el("progress", { max: expected.get(id), value: done + refused, "aria-label": words })
      : null,
    isRunning
      ? el("button", { type: "button", "aria-label": `Stop: ${words}`, onclick: () => stop(id) }, "Stop")
      : null,
  );
  made.dataset.id = id;
  return made;
}

function wordsOf({ status, code, owner, q }) {
  const parts = [status, code, owner === null ? null : `of ${owner || "nobody"}`, q && `“${q}”`].filter(Boolean);
  return parts.length ? parts.join(", ") : "all";
}

async function stop(id) {
  await requestJson(`/admin/actions/${id}/cancel`, { method: "POST" });
  announce("Bulk action", "stopped");
  await showActions();
}
