/** Calls of the service. Whatever goes wrong is a Problem; only an aborted signal's own reason passes through. */

import { currentKey, renewKey } from "./key.js";

const BASE = new URL("..", import.meta.url).pathname.slice(0, -1); // what the service is published below
const ANSWER_MS = 30_000;
const STALL_MS = 60_000; // the longest silence of an upload, its answer included
const PASSING = new Set([0, 429, 502, 503, 504]);

/** What the service says of an error (RFC 9457); status 0 where it could not be asked. */
export class Problem extends Error {
  constructor(status, { code = "", detail, request_id: requestId } = {}, retryAfterS = 0) {
    super(detail ?? `The service answered ${status}. Try again later.`);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    this.retryAfterMs = retryAfterS * 1000;
  }

  /** Whether the same call may well succeed in a moment. */
  get isPassing() {
    return PASSING.has(this.status) || this.code === "idempotency_in_flight";
  }
}

/** The JSON document that a call answers with; null where it answers with none. */
export async function call(path, { method = "GET", signal } = {}) {
  const response = await open(path, { method, signal });
  return response.status === 204 ? null : reached(response.json(), signal);
}

/** The answer itself, its body yet unread. */
export function open(path, { method = "GET", signal } = {}) {
  return withKey(async (headers) => {
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(), ANSWER_MS);
    const both = signal ? AbortSignal.any([signal, late.signal]) : late.signal;
    try {
      return await reached(fetch(BASE + path, { method, headers, signal: both }), signal);
    } finally {
      clearTimeout(timer);
    }
  });
}

/** Posts a form and tells, from 0 to 1, how much of it is sent: fetch cannot say that of a body yet. */
export function send(path, form, { headers = {}, onProgress, signal }) {
  return withKey((access) => post(path, form, { ...headers, ...access }, onProgress, signal)).then((answer) =>
    answer.json(),
  );
}

function post(path, form, headers, onProgress, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const request = new XMLHttpRequest();
    let stalled;
    const alive = () => {
      clearTimeout(stalled);
      stalled = setTimeout(() => request.abort(), STALL_MS);
    };
    const leave = () => request.abort();
    signal.addEventListener("abort", leave);
    request.upload.onprogress = ({ loaded, total }) => {
      alive();
      onProgress(total ? loaded / total : 1);
    };
    request.onload = () => {
      const passed = { "retry-after": request.getResponseHeader("retry-after") ?? "" };
      resolve(new Response(request.responseText, { status: request.status, headers: passed }));
    };
    request.onerror = () => reject(unreachable());
    request.onabort = () => reject(signal.aborted ? signal.reason : unreachable());
    request.onloadend = () => {
      clearTimeout(stalled);
      signal.removeEventListener("abort", leave);
    };
    request.open("POST", BASE + path);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.send(form);
    alive();
  });
}

/** Tries once more with another key for as long as the visitor has one. */
async function withKey(attempt) {
  for (;;) {
    const key = currentKey();
    const response = await attempt(key ? { authorization: `Bearer ${key}` } : {});
    if (response.ok) return response;
    const problem = await toProblem(response);
    if (response.status !== 401 || !(await renewKey(key, problem.message))) throw problem;
  }
}

async function toProblem(response) {
  const retryAfterS = Number(response.headers.get("retry-after")) || 0;
  try {
    return new Problem(response.status, await response.json(), retryAfterS);
  } catch {
    return new Problem(response.status, {}, retryAfterS); // something between us and the service has answered
  }
}

async function reached(promise, signal) {
  try {
    return await promise;
  } catch {
    signal?.throwIfAborted();
    throw unreachable();
  }
}

function unreachable() {
  return new Problem(0, { detail: "The service could not be reached. Check the connection and try again." });
}
