/** The list of uploads: searched, page by page, so that the document stays small however many there are. */

import { requestJson } from "../page/api.js";
import { Status, TERMINAL } from "../page/job-states.js";
import { el } from "../shared/el.js";
import { queryOf } from "./filter.js";
import { formatSecond } from "./format.js";

const PAGE_SIZE = 50;
const MAX_CALLS = 30; // of one search: 300 000 uploads

const rows = document.querySelector("#uploads tbody");
const empty = document.querySelector("#empty");
const range = document.querySelector("#range");
const olderButton = document.querySelector("#older");
const newerButton = document.querySelector("#newer");
const searchError = document.querySelector("#search-error");

/** The pages of what matches a filter. `onUpload` is called with the id of an upload that is chosen. */
export class List {
  #cursors = [null]; // where each page begins that was shown on the way here
  #next = null;
  #running = null;

  constructor(onUpload) {
    this.onUpload = onUpload;
    this.filter = {};
    olderButton.addEventListener("click", () => this.#turn(() => this.#cursors.push(this.#next)));
    newerButton.addEventListener("click", () => this.#turn(() => this.#cursors.pop()));
  }

  get isAtTop() {
    return this.#cursors.length === 1;
  }

  /** Shows the first page of what matches. */
  async search(filter) {
    this.filter = filter;
    this.#cursors = [null];
    await this.#show();
  }

  /** Shows the same page as it is now. */
  async refresh() {
    if (!this.#running) await this.#load();
  }

  async #turn(change) {
    change();
    await this.#show();
  }

  async #show() {
    try {
      await this.#load();
    } catch (error) {
      if (error.name !== "AbortError") searchError.textContent = error.message;
    }
  }

  /** A search that is under way is given up for another one. */
  async #load() {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    try {
      const { found, next } = await collect(this.filter, this.#cursors.at(-1), running.signal);
      searchError.textContent = "";
      this.#next = next;
      this.#render(found);
    } finally {
      if (this.#running === running) this.#running = null;
    }
  }

  #render(found) {
    const focused = rows.contains(document.activeElement) ? document.activeElement.closest("tr").dataset.id : null;
    rows.replaceChildren(...found.map((upload) => this.#row(upload)));
    if (focused) rows.querySelector(`[data-id="${focused}"] button`)?.focus();
    olderButton.disabled = this.#next === null;
    newerButton.disabled = this.isAtTop;
    empty.hidden = found.length > 0;
    empty.textContent = this.#next ? "Nothing matches so far. Older uploads may." : "Nothing matches.";
    const page = this.#cursors.length;
    range.textContent = found.length ? `${(page - 1) * PAGE_SIZE + 1} to ${(page - 1) * PAGE_SIZE + found.length}` : "";
  }

  #row(upload) {
    const row = el(
      "tr",
      {},
      el(
        "th",
        { scope: "row" },
        el("button", { type: "button", className: "link", onclick: () => this.onUpload(upload.id) }, upload.filename),
      ),
      el("td", {}, upload.owner),
      el("td", { className: stateOf(upload) }, wordsFor(upload)),
      el("td", {}, el("time", { dateTime: upload.created_at }, formatSecond(upload.created_at))),
      el("td", { className: "number" }, String(upload.attempt)),
    );
    row.dataset.id = upload.id;
    return row;
  }
}

/** Collects a page: the service looks at a part of the uploads in each call. */
async function collect(filter, cursor, signal) {
  const found = [];
  let next = cursor;
  let searched = 0;
  for (let call = 0; call < MAX_CALLS; call++) {
    const query = queryOf(filter, { limit: PAGE_SIZE - found.length, cursor: next });
    const page = await requestJson(`/admin/uploads?${query}`, { signal });
    found.push(...page.uploads);
    next = page.next;
    searched += page.searched;
    if (next === null || found.length >= PAGE_SIZE) break;
    range.textContent = `Searching: ${searched} uploads so far`;
  }
  return { found, next };
}

/** The job that an upload's status is about: its own, or its newest derivation. */
const jobOf = ({ derivation, ...upload }) => (derivation && !TERMINAL.has(derivation.status) ? derivation : upload);

const stateOf = (upload) => `state ${jobOf(upload).status.toLowerCase()}`;

export function wordsFor(upload) {
  const job = jobOf(upload);
  const prefix = job.revision ? `Revision ${job.revision}: ` : "";
  if (job.status === Status.PROGRESS) return `${prefix}${job.step ?? "Processing"}, ${job.progress} %`;
  if (job.status === Status.PENDING) return `${prefix}Waiting`;
  if (job.error) return job.error.code;
  const failed = upload.derivation?.error;
  if (failed) return `Done; revision ${upload.derivation.revision}: ${failed.code}`;
  return job.status === Status.SUCCESS ? "Done" : "Cancelled";
}
