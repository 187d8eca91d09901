/** One image's way: queued → uploading → working → done, failed or cancelled. Knows nothing of how that is shown. */

import { call, Problem, send } from "./api.js";
import { follow, hasEnded } from "./follow.js";
import { patiently } from "./patience.js";
import { Slots } from "./slots.js";

const bodies = new Slots(3);
const results = new Slots(2);
const REFUSED = new Set([413, 415, 422]); // what the file or its options are will not change
const SENT = 50; // where the bar stands when the file is with the service

export class Upload {
  id = null;
  state = "queued";
  percent = 0;
  status = null; // the service's document, once there is one
  result = null;
  note = ""; // what went wrong, for a person
  changed = () => {};

  #file;
  #preset;
  #once = token(); // the same file sent again is no second upload
  #under = new AbortController(); // what is under way
  #refused = false; // for good

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
    upload.state = "working";
    upload.#hear(status);
    return upload;
  }

  get isUnsent() {
    return this.id === null && this.isUnderWay;
  }

  get isUnderWay() {
    return ["queued", "uploading", "working"].includes(this.state);
  }

  get canRetry() {
    return this.state === "cancelled" || (this.state === "failed" && !this.#refused);
  }

  /** Goes on from wherever it is, to the end. */
  async run() {
    this.#under = new AbortController();
    const { signal } = this.#under;
    try {
      if (this.id === null) await this.#send(signal);
      if (!this.status || !hasEnded(this.status)) await follow(this.id, (status) => this.#hear(status), signal);
      if (this.status.status === "SUCCESS") await this.#fetchResult(signal);
    } catch (error) {
      if (signal.aborted) return; // whoever gave it up says what it is now
      this.#refused = this.id === null && REFUSED.has(error.status);
      this.#set({ state: "failed", note: explained(error) });
    }
  }

  async cancel() {
    if (this.id !== null) {
      // should the job have ended just before, its follower tells how
      await this.#tried(async () => this.#hear(await this.#ask("POST", "/cancel")));
    } else {
      this.#under.abort();
      this.#set({ state: "cancelled", percent: 0 });
    }
  }

  async retry() {
    this.#under.abort();
    if (this.id === null) {
      this.#set({ state: "queued", note: "", percent: 0 });
    } else if (["FAILURE", "CANCELLED"].includes(this.status?.status)) {
      const queued = await this.#tried(async () => {
        const status = await this.#ask("POST", "/retry");
        this.percent = SENT;
        this.#hear(status);
      });
      if (!queued) return;
    } else {
      this.#set({ state: "working", note: "" }); // it is only we who have lost sight of it
    }
    await this.run();
  }

  /** Whether nothing is left of it. */
  async remove() {
    this.#under.abort();
    return this.id === null || this.#tried(() => this.#ask("DELETE", ""));
  }

  #ask(method, action) {
    return call(`/upload/${this.id}${action}`, { method });
  }

  /** Whether an action went well. It stays what it was where it did not. */
  async #tried(action) {
    try {
      await action();
      return true;
    } catch (error) {
      this.#set({ note: explained(error) });
      return false;
    }
  }

  async #send(signal) {
    const accepted = await bodies.run(() => patiently(() => this.#sendOnce(signal), signal), signal);
    this.#set({ id: accepted.id, name: accepted.filename, state: "working", percent: SENT });
    this.#file = null; // from here on, the service has it
  }

  #sendOnce(signal) {
    this.#set({ state: "uploading" });
    const form = new FormData();
    if (this.#preset) form.append("preset", this.#preset);
    form.append("file", this.#file, this.name);
    const onProgress = (part) => this.#set({ percent: SENT * part });
    return send("/upload", form, { headers: { "idempotency-key": this.#once }, onProgress, signal });
  }

  #hear(status) {
    const percent = Math.max(this.percent, SENT + (status.progress * (100 - SENT)) / 100);
    const ended = { FAILURE: "failed", CANCELLED: "cancelled" }[status.status];
    this.#set({ status, percent, state: ended ?? "working", note: status.error?.message ?? "" });
  }

  async #fetchResult(signal) {
    const ask = () => call(`/upload/${this.id}/result`, { signal });
    const result = await results.run(() => patiently(ask, signal), signal);
    this.#set({ result, state: "done", percent: 100, note: "" });
  }

  #set(fields) {
    Object.assign(this, fields);
    this.changed();
  }
}

function explained(error) {
  if (!(error instanceof Problem)) throw error;
  return error.status >= 500 && error.requestId ? `${error.message} (request ${error.requestId})` : error.message;
}

/** Not crypto.randomUUID, which there is only over HTTPS and on localhost. */
function token() {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (part) => part.toString(36)).join("-");
}
