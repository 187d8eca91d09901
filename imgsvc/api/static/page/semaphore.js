/** Runs at most `limit` tasks at once; further tasks wait, first come first served. */
export class Semaphore {
  #available;
  #waiting = [];

  constructor(limit) {
    this.#available = limit;
  }

  /** Rejects with the signal's reason where that is aborted before the task has begun. */
  async run(task, signal) {
    await this.#acquire(signal);
    try {
      return await task();
    } finally {
      this.#release();
    }
  }

  async #acquire(signal) {
    signal.throwIfAborted();
    if (this.#available > 0) {
      this.#available -= 1;
      return;
    }
    await new Promise((resolve, reject) => {
      this.#waiting.push(resolve);
      const cancel = () => {
        const index = this.#waiting.indexOf(resolve);
        if (index >= 0) this.#waiting.splice(index, 1);
        reject(signal.reason);
      };
      signal.addEventListener("abort", cancel, { once: true });
    });
  }

  #release() {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#available += 1;
  }
}
