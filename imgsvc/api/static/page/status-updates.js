/** Watches jobs until they end, any number of them over a bounded number of connections.
 *
 * A browser opens at most six connections to a host over HTTP/1.1. Two of them carry event streams, for the jobs that
 * were watched first and are processed first. The status of all others is polled together, by one request a second for
 * the list of recent uploads.
 */

import { Problem, request, requestJson } from "./api.js";
import { TERMINAL } from "./job-states.js";
import { Semaphore } from "./semaphore.js";
import { sleep } from "./sleep.js";
import { readEvents } from "./sse.js";

const MAX_STREAMS = 2;
const POLL_INTERVAL_MS = 1000;
const MIN_DELAY_MS = 300;
const MAX_DELAY_MS = 10_000;

const streams = new Semaphore(MAX_STREAMS);
const watched = new Map(); // upload id → the function to call with its status from the list
let isPolling = false;

/** Whether more variants of an upload are being made, whose job has ended before. */
export const isDeriving = ({ derivation }) => Boolean(derivation) && !TERMINAL.has(derivation.status);

export const hasEnded = (status) => TERMINAL.has(status.status) && !isDeriving(status);

/** Calls `onStatus` with each status document. Resolves to the terminal one. Waits while the service is unreachable;
 * rejects with any other Problem, for example when the upload is deleted.
 */
export function watch(id, onStatus, signal) {
  return new Promise((resolve, reject) => {
    const ended = new AbortController(); // its stream is not needed any more
    const either = AbortSignal.any([signal, ended.signal]);
    const onStreamed = (status) => {
      if (either.aborted) return;
      onStatus(status);
      if (hasEnded(status)) {
        watched.delete(id);
        resolve(status);
      }
    };
    const onPolled = (status) => {
      onStreamed(status);
      if (hasEnded(status)) ended.abort();
    };
    watched.set(id, onPolled);
    streams
      .run(() => stream(id, onStreamed, either), either)
      .catch((error) => {
        if (watched.get(id) === onPolled) watched.delete(id);
        reject(error); // has no effect where it has resolved
      });
    poll();
  });
}

/** Reads a job's event stream to the job's end, and connects again after a delay where it breaks off. */
async function stream(id, onStatus, signal) {
  let isDone = false;
  for (let delay = MIN_DELAY_MS; !isDone; delay = Math.min(2 * delay, MAX_DELAY_MS)) {
    try {
      for await (const status of streamOnce(id, signal)) {
        onStatus(status);
        isDone = hasEnded(status);
        delay = MIN_DELAY_MS;
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof Problem) || !(error.isTransient || error.status >= 500)) throw error;
    }
    if (!isDone) await sleep(delay, signal);
  }
}

/** The status documents of one event stream, until it ends or breaks off. */
async function* streamOnce(id, signal) {
  const { body } = await request(`/upload/${id}/events`, { signal });
  try {
    for await (const { event, data } of readEvents(body)) {
      if (event === "status") yield JSON.parse(data);
    }
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof TypeError)) throw error; // a TypeError is a lost connection
  }
}

async function poll() {
  if (isPolling) return;
  isPolling = true;
  try {
    while (watched.size > MAX_STREAMS) {
      await sleep(POLL_INTERVAL_MS);
      const before = new Map(watched); // a job that is retried meanwhile must not receive its former end
      const { uploads } = await requestJson("/uploads?limit=200");
      for (const status of uploads) {
        if (watched.get(status.id) === before.get(status.id)) before.get(status.id)?.(status);
      }
    }
  } catch (error) {
    if (!(error instanceof Problem)) throw error; // the streams go on, and the next watch() polls again
  } finally {
    isPolling = false;
  }
}
