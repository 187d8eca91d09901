/** The service at a glance: figures, the plots of the last hour, failures by code, and what each worker is at. */

import { plural } from "../page/format.js";
import { el } from "../shared/el.js";
import { formatDuration, formatMinute } from "./format.js";
import { plot } from "./plot.js";

const figures = document.querySelector("#figures");
const throughput = document.querySelector("#throughput");
const depth = document.querySelector("#depth");
const minuteTable = document.querySelector("#minutes");
const failures = document.querySelector("#failures");
const workerList = document.querySelector("#workers");

let latest = null;
minuteTable.addEventListener("toggle", () => latest && showTable(latest.minutes));

/** Shows a document of `GET /admin/stats`. `onCode` is called with a failure's code that is chosen, `onJob` with the id
 * of a worker's job.
 */
export function showStats(stats, { onCode, onJob }) {
  latest = stats;
  figures.replaceChildren(...figuresOf(stats).map(([name, value, state]) => figure(name, value, state)));
  showPlots(stats.minutes);
  if (minuteTable.open) showTable(stats.minutes);
  replace(failures, failureButtons(stats.failed, onCode));
  replace(workerList, stats.workers.length ? stats.workers.map((worker) => workerItem(worker, onJob)) : [noWorker()]);
}

function figuresOf({ queue, checks, duration }) {
  const { normal, low } = queue.lanes;
  const lanes = low ? ` (${low} of low priority)` : "";
  return [
    ["Waiting", `${queue.waiting}${normal === null ? "" : lanes} of at most ${queue.max_queued}`],
    ["Under way", String(queue.leased)],
    ["Due later", String(queue.delayed)],
    ["First waits for", queue.waiting ? formatDuration(queue.oldest_waiting_ms) : "–"],
    ["Half done within", formatDuration(duration.p50_ms)],
    ["95 % within", formatDuration(duration.p95_ms)],
    ["Webhooks to deliver", String(queue.webhooks)],
    ["Redis", ...dependency(checks.queue)],
    ["Storage", ...dependency(checks.storage)],
  ];
}

const dependency = ({ ok, latency_ms: latency, error }) =>
  ok ? [`${latency} ms`, ""] : [error ?? "not available", "bad"];

const figure = (name, value, state = "") => el("div", { className: state }, el("dt", {}, name), el("dd", {}, value));

const failedIn = ({ failed }) => Object.values(failed).reduce((sum, count) => sum + count, 0);
const sum = (values) => values.reduce((total, value) => total + value, 0);

function showPlots(minutes) {
  const times = minutes.map(({ at }) => formatMinute(at));
  const accepted = minutes.map((minute) => minute.accepted);
  const done = minutes.map((minute) => minute.done);
  const failed = minutes.map(failedIn);
  const cancelled = minutes.map((minute) => minute.cancelled);
  const queued = minutes.map((minute) => minute.queued);
  const busiest = Math.max(...accepted);
  throughput.replaceChildren(
    plot({
      minutes: times,
      series: [
        { name: "done", values: done },
        { name: "failed", values: failed },
        { name: "cancelled", values: cancelled },
      ],
      line: { name: "accepted", values: accepted },
      text:
        `In the last hour ${plural(sum(accepted), "job")} accepted, ${sum(done)} done, ${sum(failed)} failed, ` +
        `${sum(cancelled)} cancelled; at most ${busiest} accepted in a minute, at ${times[accepted.indexOf(busiest)]}.`,
    }),
    legend({
      accepted: sum(accepted),
      done: sum(done),
      failed: sum(failed),
      cancelled: sum(cancelled),
    }),
  );
  depth.replaceChildren(
    plot({
      minutes: times,
      series: [{ name: "queued", values: queued }],
      text: `${plural(queued.at(-1), "job")} not ended now; at most ${Math.max(...queued)} in the last hour, an hour ago ${queued[0]}.`,
    }),
  );
}

const legend = (totals) =>
  el(
    "ul",
    { className: "legend" },
    Object.entries(totals).map(([name, total]) =>
      el("li", {}, el("span", { className: `swatch ${name}` }), `${total} ${name}`),
    ),
  );

function showTable(minutes) {
  const columns = ["Minute", "Accepted", "Done", "Failed", "Cancelled", "In the queue"];
  const head = el(
    "tr",
    {},
    columns.map((name) => el("th", { scope: "col" }, name)),
  );
  const rows = minutes.toReversed().map((minute) => {
    const numbers = [minute.accepted, minute.done, failedIn(minute), minute.cancelled, minute.queued];
    return el(
      "tr",
      {},
      el("th", { scope: "row" }, formatMinute(minute.at)),
      numbers.map((number) => el("td", {}, String(number))),
    );
  });
  minuteTable.querySelector("table")?.remove();
  minuteTable.append(el("table", {}, el("thead", {}, head), el("tbody", {}, rows)));
}

function failureButtons(failed, onCode) {
  const codes = Object.entries(failed);
  if (!codes.length) return [el("p", { className: "hint" }, "Nothing has failed.")];
  return codes.map(([code, count]) =>
    el(
      "button",
      { type: "button", onclick: () => onCode(code) },
      `${code} `,
      el("span", { className: "count" }, String(count)),
    ),
  );
}

function workerItem({ name, alive, sandbox, jobs }, onJob) {
  const state = alive ? `sandbox ${sandbox}` : "does not answer";
  return el(
    "li",
    { className: alive ? "" : "bad" },
    el("p", {}, el("code", {}, name), ` ${state}, ${jobs.length ? plural(jobs.length, "job") : "idle"}`),
    el(
      "ul",
      {},
      jobs.map((job) => jobItem(job, onJob)),
    ),
  );
}

function jobItem(job, onJob) {
  const since = job.started_at ? ` for ${formatDuration(Date.now() - Date.parse(job.started_at))}` : "";
  const revision = job.revision ? `, revision ${job.revision}` : "";
  const attempt = job.attempt > 1 ? `, attempt ${job.attempt}` : "";
  return el(
    "li",
    {},
    el("button", { type: "button", className: "link", onclick: () => onJob(job.id) }, job.filename),
    ` ${job.step ?? "beginning"}, ${job.progress} %${since}${revision}${attempt}`,
  );
}

const noWorker = () =>
  el("li", { className: "bad" }, "No worker is running: uploads are accepted, and wait until one is started.");

/** Replaces children, and leaves the focus where it was: on the control of the same text. */
function replace(parent, children) {
  const focused = parent.contains(document.activeElement) ? document.activeElement.textContent : null;
  parent.replaceChildren(...children);
  if (focused === null) return;
  [...parent.querySelectorAll("button")].find(({ textContent }) => textContent === focused)?.focus();
}
