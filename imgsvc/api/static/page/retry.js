import { Problem } from "./api.js";
import { sleep } from "./sleep.js";

const MAX_ATTEMPTS = 4;
const DELAY_MS = 1000;

/** Resolves to what `request` resolves to, and repeats it after a delay while it fails with a transient Problem. */
export async function retry(request, signal) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request();
    } catch (error) {
      if (!(error instanceof Problem) || !error.isTransient || attempt === MAX_ATTEMPTS) throw error;
      await sleep(Math.max(error.retryAfterMs, DELAY_MS * attempt), signal);
    }
  }
}
