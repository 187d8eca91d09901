/** Follows jobs to their end, however many there are, over a bounded number of connections.
 *
 * A browser has six connections to a host over HTTP/1.1. Two of them carry event streams, for the jobs that were
 * followed first, and so are run first. All others are looked up in the list of recent uploads, by one call a second.
 */

import { call, open, Problem } from "./api.js";
import { sleep } from "./sleep.js";
import { Slots } from "./slots.js";
import { events } from "./sse.js";

const STREAMS = 2;
const LIST_EVERY_MS = 1000;
const FIRST_PAUSE_MS = 300;
const LAST_PAUSE_MS = 10_000;
const TERMINAL = new Set(["SUCCESS", "FAILURE", "CANCELLED"]);

const streams = new Slots(STREAMS);
const followed = new Map();
let listing = false;

export const hasEnded = (status) => TERMINAL.has(status.status);

/** Tells each status document that is heard of. Resolves to the terminal one; rejects with a Problem, such as that the
 * upload is gone. An outage is waited for.
 */
export function follow(id, tell, signal) {
  return new Promise((resolve, reject) => {
    const enough = new AbortController();
    const either = AbortSignal.any([signal, enough.signal]);
    const told = (status) => {
      if (either.aborted) return;
      tell(status);
      if (hasEnded(status)) {
        followed.delete(id);
        resolve(status);
      }
    };
    const listed = (status) => {
      told(status);
      if (hasEnded(status)) enough.abort();
    };
    followed.set(id, listed);
    streams
      .run(() => listen(id, told, either), either)
      .catch((error) => {
        if (followed.get(id) === listed) followed.delete(id);
        reject(error); // of no effect where it has ended well
      });
    list();
  });
}

async function listen(id, told, signal) {
  let ended = false;
  for (let pause = FIRST_PAUSE_MS; !ended; pause = Math.min(2 * pause, LAST_PAUSE_MS)) {
    try {
      for await (const status of heard(id, signal)) {
        told(status);
        ended = hasEnded(status);
        pause = FIRST_PAUSE_MS;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Problem) || !(error.isPassing || error.status >= 500)) throw error;
    }
    if (!ended) await sleep(pause, signal);
  }
}

/** The status documents of a stream, until it ends or breaks off. */
async function* heard(id, signal) {
  const { body } = await open(`/upload/${id}/events`, { signal });
  try {
    for await (const { event, data } of events(body)) {
      if (event === "status") yield JSON.parse(data);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof TypeError)) throw error; // which is how a stream breaks off
  }
}

async function list() {
  if (listing) return;
  listing = true;
  try {
    while (followed.size > STREAMS) {
      await sleep(LIST_EVERY_MS);
      const before = new Map(followed); // a job that is retried meanwhile is not to hear of its former end
      const { uploads } = await call("/uploads?limit=200");
      for (const status of uploads) {
        if (followed.get(status.id) === before.get(status.id)) before.get(status.id)?.(status);
      }
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error; // the streams go on, and whoever is followed next asks again
  } finally {
    listing = false;
  }
}
