/** Asks again and again, less often while that fails, and not at all while nobody sees the page. */

import { sleep } from "../page/sleep.js";

const MAX_INTERVAL_MS = 30_000;

/** Runs `task` now and then every `intervalMs` until the signal is aborted. After a failure, which `onError` gets, the
 * interval doubles; a task that fails for good returns false from there. While the page is hidden, the next run waits
 * until it is shown.
 */
export async function poll(task, intervalMs, onError, signal) {
  let interval = intervalMs;
  while (!signal.aborted) {
    try {
      await task();
      interval = intervalMs;
    } catch (error) {
      if (signal.aborted || onError(error) === false) return;
      interval = Math.min(2 * interval, MAX_INTERVAL_MS);
    }
    await sleep(interval, signal).catch(() => {});
    await shown();
  }
}

function shown() {
  if (!document.hidden) return null;
  return new Promise((resolve) => {
    const check = () => {
      if (document.hidden) return;
      document.removeEventListener("visibilitychange", check);
      resolve();
    };
    document.addEventListener("visibilitychange", check);
  });
}
