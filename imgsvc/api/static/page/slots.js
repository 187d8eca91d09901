/** At most `most` tasks at once; further ones wait their turn, first come first served. */
export class Slots {
  #free;
  #waiting = [];

  constructor(most) {
    this.#free = most;
  }

  /** Rejects with the signal's reason where it is aborted before the task's turn has come. */
  async run(task, signal) {
    await this.#take(signal);
    try {
      return await task();
    } finally {
      this.#give();
    }
  }

  async #take(signal) {
    signal.throwIfAborted();
    if (this.#free > 0) {
      this.#free -= 1;
      return;
    }
    await new Promise((resolve, reject) => {
      this.#waiting.push(resolve);
      const leave = () => {
        const place = this.#waiting.indexOf(resolve);
        if (place >= 0) this.#waiting.splice(place, 1);
        reject(signal.reason);
      };
      signal.addEventListener("abort", leave, { once: true });
    });
  }

  #give() {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free += 1;
  }
}
