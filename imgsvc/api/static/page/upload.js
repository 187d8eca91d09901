/** One upload: queued → uploading → processing → done, failed or cancelled. It does not know how it is displayed. */

import { Problem, postForm, requestJson } from "./api.js";
import { RETRYABLE, Status } from "./job-states.js";
import { retry } from "./retry.js";
import { Semaphore } from "./semaphore.js";
import { hasEnded, isDeriving, watch } from "./status-updates.js";

const uploading = new Semaphore(3);
const fetchingResults = new Semaphore(2);
const PERMANENT = new Set([413, 415, 422]); // the same file is rejected again
const SENT_PERCENT = 50; // of the progress bar when the file is sent

export class Upload {
  id = null;
  state = "queued";
  percent = 0;
  status = null; // the service's document, once there is one
  result = null;
  errorMessage = ""; // for display
  note = ""; // for display, and no error
  onChange = () => {};

  #file = null;
  #preset;
  #idempotencyKey = randomKey(); // the same file sent again is not a second upload
  #running = new AbortController(); // aborts what run() does
  #isRejected = false; // for good

  static ofFile(file, preset) {
    const upload = new Upload();
    upload.#file = file;
    upload.#preset = preset;
    upload.name = file.name || "image";
    return upload;
  }

  static ofStatus(status) {
    const upload = new Upload();
    upload.id = status.id;
    upload.name = status.filename;
    upload.state = "processing";
    upload.#applyStatus(status);
    return upload;
  }

  get isUnsent() {
    return this.id === null && this.isInProgress;
  }

  /** What was uploaded from this page; null for what was uploaded earlier. */
  get original() {
    return this.#file;
  }

  get isInProgress() {
    return ["queued", "uploading", "processing"].includes(this.state);
  }

  get canRetry() {
    return this.state === "cancelled" || (this.state === "failed" && !this.#isRejected);
  }

  /** Continues from its present state to the end. */
  async run() {
    this.#running = new AbortController();
    const { signal } = this.#running;
    try {
      if (this.id === null) await this.#send(signal);
      if (!this.status || !hasEnded(this.status)) await watch(this.id, (status) => this.#applyStatus(status), signal);
      if (this.status.status === Status.SUCCESS) await this.#fetchResult(signal);
    } catch (error) {
      if (signal.aborted) return; // the method that aborted it sets the state
      this.#isRejected = this.id === null && PERMANENT.has(error.status);
      this.#set({ state: "failed", errorMessage: messageOf(error) });
    }
  }

  async cancel() {
    if (this.id !== null) {
      // where the job has ended just before, run() learns of its end
      await this.#succeeds(async () => this.#applyStatus(await this.#request("POST", "/cancel")));
    } else {
      this.#running.abort();
      this.#set({ state: "cancelled", percent: 0 });
    }
  }

  async retry() {
    this.#running.abort();
    if (this.id === null) {
      this.#set({ state: "queued", errorMessage: "", percent: 0 });
    } else if (RETRYABLE.has(this.status?.status)) {
      const isQueued = await this.#succeeds(async () => {
        const status = await this.#request("POST", "/retry");
        this.percent = SENT_PERCENT;
        this.#applyStatus(status);
      });
      if (!isQueued) return;
    } else {
      this.#set({ state: "processing", errorMessage: "" }); // the job is fine: only its status or result is missing here
    }
    await this.run();
  }

  /** Sets the point that crops keep in view, and has what is cut by it made again. */
  async setFocus(focus) {
    await this.#derive("PATCH", "", { focus });
    if (this.state === "done" && !this.errorMessage && !isDeriving(this.status)) {
      this.#set({ note: "The focus is saved." });
    }
  }

  /** Has more variants made of the original. */
  addVariants(variants) {
    return this.#derive("POST", "/variants", { variants });
  }

  async #derive(method, action, body) {
    const isQueued = await this.#succeeds(async () => {
      const status = await this.#request(method, action, body);
      this.percent = 0;
      this.#applyStatus(status);
    });
    if (isQueued) await this.run();
  }

  /** Resolves to whether it is deleted from the service. */
  async remove() {
    this.#running.abort();
    return this.id === null || this.#succeeds(() => this.#request("DELETE", ""));
  }

  #request(method, action, body) {
    return requestJson(`/upload/${this.id}${action}`, { method, body });
  }

  /** Whether an action succeeds. Where it does not, only the error message changes. */
  async #succeeds(action) {
    this.note = "";
    try {
      await action();
      return true;
    } catch (error) {
      this.#set({ errorMessage: messageOf(error) });
      return false;
    }
  }

  async #send(signal) {
    const accepted = await uploading.run(() => retry(() => this.#sendOnce(signal), signal), signal);
    this.#set({ id: accepted.id, name: accepted.filename, state: "processing", percent: SENT_PERCENT });
  }

  #sendOnce(signal) {
    this.#set({ state: "uploading" });
    const form = new FormData();
    if (this.#preset) form.append("preset", this.#preset);
    form.append("file", this.#file, this.name);
    const onProgress = (fraction) => this.#set({ percent: SENT_PERCENT * fraction });
    return postForm("/upload", form, { headers: { "idempotency-key": this.#idempotencyKey }, onProgress, signal });
  }

  #applyStatus(status) {
    const done = isDeriving(status)
      ? status.derivation.progress
      : SENT_PERCENT + (status.progress * (100 - SENT_PERCENT)) / 100;
    const endState = { [Status.FAILURE]: "failed", [Status.CANCELLED]: "cancelled" }[status.status];
    const error = status.error ?? status.derivation?.error;
    const percent = Math.max(this.percent, done);
    this.#set({ status, percent, state: endState ?? "processing", errorMessage: error?.message ?? "" });
  }

  async #fetchResult(signal) {
    const fetchOnce = () => requestJson(`/upload/${this.id}/result`, { signal });
    const result = await fetchingResults.run(() => retry(fetchOnce, signal), signal);
    const errorMessage = this.status.derivation?.error?.message ?? "";
    this.#set({ result, state: "done", percent: 100, errorMessage });
  }

  #set(fields) {
    Object.assign(this, fields);
    this.onChange();
  }
}

function messageOf(error) {
  if (!(error instanceof Problem)) throw error;
  return error.status >= 500 && error.requestId ? `${error.message} (request ${error.requestId})` : error.message;
}

/** Not crypto.randomUUID, which only exists over HTTPS and on localhost. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}
