import { Problem } from "./api.js";
import { sleep } from "./sleep.js";

const TRIES = 4;
const PAUSE_MS = 1000;

/** What `attempt` resolves to, which is made again after a pause where its Problem may pass by itself. */
export async function patiently(attempt, signal) {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof Problem) || !error.isPassing || tries === TRIES) throw error;
      await sleep(Math.max(error.retryAfterMs, PAUSE_MS * tries), signal);
    }
  }
}
