/** The deliveries of one upload's events to its webhook, each with what was answered, to be sent again. */

import { announce } from "../page/announce.js";
import { Problem, requestJson } from "../page/api.js";
import { el } from "../shared/el.js";
import { formatDuration, formatSecond } from "./format.js";

const section = document.querySelector("#story .deliveries");
const list = section.querySelector("ul");

/** Shows what the webhook of an upload was sent; nothing where it has none. */
export async function showDeliveries(upload, signal) {
  section.hidden = upload.webhook === null;
  if (section.hidden) return;
  const { deliveries } = await requestJson(`/upload/${upload.id}/deliveries`, { signal });
  render(upload, deliveries);
}

function render(upload, deliveries) {
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.n : null;
  list.replaceChildren(...deliveries.map((delivery) => item(upload, delivery)));
  if (focused) list.querySelector(`[data-n="${focused}"]`)?.focus();
}

function item(upload, delivery) {
  const { n, event, state, ended_at: endedAt, next_at: nextAt, attempts } = delivery;
  const due = nextAt ? `, due ${formatSecond(nextAt)}` : "";
  return el(
    "li",
    {},
    el("p", {}, el("code", {}, event), ` of ${formatSecond(endedAt)}: ${state.replace("_", " ")}${due}`),
    el("ul", {}, attempts.map(attemptItem)),
    state === "superseded" ? null : replayButton(upload, n, event),
  );
}

const attemptItem = ({ at, status, error, duration_ms: took }) =>
  el("li", {}, `${formatSecond(at)}: ${status ?? error ?? "no answer"}, after ${formatDuration(took)}`);

function replayButton(upload, n, event) {
  const button = el(
    "button",
    { type: "button", "data-n": String(n), "aria-label": `Send ${event} again` },
    "Send again",
  );
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      const { deliveries } = await requestJson(`/upload/${upload.id}/deliveries/${n}/replay`, { method: "POST" });
      announce(upload.filename, `${event} is sent again`);
      render(upload, deliveries);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      button.disabled = false;
      button.after(el("p", { role: "alert" }, error.message));
    }
  });
  return button;
}
