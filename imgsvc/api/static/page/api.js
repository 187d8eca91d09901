/** Requests to the service. Each failure is a Problem; only the reason of an aborted signal passes through. */

import { storedKey } from "../shared/api-key.js";
import { BASE_PATH } from "../shared/base-path.js";
import { renewKey } from "./key-dialog.js";

const RESPONSE_TIMEOUT_MS = 30_000;
const STALL_TIMEOUT_MS = 60_000; // without progress of an upload, or without its response
const TRANSIENT = new Set([0, 429, 502, 503, 504]);

/** An error as the service describes it (RFC 9457); status 0 where the service could not be reached. */
export class Problem extends Error {
  constructor(status, { code = "", detail, request_id: requestId } = {}, retryAfterS = 0) {
    super(detail ?? `The service responded with status ${status}. Try again later.`);
    this.status = status;
    this.code = code;
    this.requestId = requestId;
    this.retryAfterMs = retryAfterS * 1000;
  }

  /** Whether the same request may well succeed soon. */
  get isTransient() {
    return TRANSIENT.has(this.status) || this.code === "idempotency_in_flight";
  }
}

/** Resolves to the JSON document of the response, or to null where that has no body. */
export async function requestJson(path, { method = "GET", body, signal } = {}) {
  const response = await request(path, { method, body, signal });
  return response.status === 204 ? null : orUnreachable(response.json(), signal);
}

/** Resolves to the response as soon as its headers are here. */
export function request(path, { method = "GET", body, signal } = {}) {
  const content = body === undefined ? {} : { "content-type": "application/json" };
  return withKey(async (authorization) => {
    const headers = { ...content, ...authorization };
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), RESPONSE_TIMEOUT_MS);
    const either = signal ? AbortSignal.any([signal, timeout.signal]) : timeout.signal;
    try {
      return await orUnreachable(
        fetch(BASE_PATH + path, { method, headers, body: JSON.stringify(body), signal: either }),
        signal,
      );
    } finally {
      clearTimeout(timer);
    }
  });
}

/** Posts a form. Calls `onProgress` with the fraction that is sent, from 0 to 1, which fetch does not report. */
export async function postForm(path, form, { headers = {}, onProgress, signal }) {
  const response = await withKey((authorization) =>
    post(path, form, { ...headers, ...authorization }, onProgress, signal),
  );
  return response.json();
}

function post(path, form, headers, onProgress, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const xhr = new XMLHttpRequest();
    let timer;
    const abort = () => xhr.abort();
    const restartTimer = () => {
      clearTimeout(timer);
      timer = setTimeout(abort, STALL_TIMEOUT_MS);
    };
    signal.addEventListener("abort", abort);
    xhr.upload.onprogress = ({ loaded, total }) => {
      restartTimer();
      onProgress(total ? loaded / total : 1);
    };
    xhr.onload = () => {
      const kept = { "retry-after": xhr.getResponseHeader("retry-after") ?? "" };
      resolve(new Response(xhr.responseText, { status: xhr.status, headers: kept }));
    };
    xhr.onerror = () => reject(unreachable());
    xhr.onabort = () => reject(signal.aborted ? signal.reason : unreachable());
    xhr.onloadend = () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", abort);
    };
    xhr.open("POST", BASE_PATH + path);
    for (const [name, value] of Object.entries(headers)) xhr.setRequestHeader(name, value);
    xhr.send(form);
    restartTimer();
  });
}

/** Sends a request with the visitor's key, and again with another key where the visitor enters one. */
async function withKey(send) {
  for (;;) {
    const key = storedKey();
    const response = await send(key ? { authorization: `Bearer ${key}` } : {});
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
    return new Problem(response.status, {}, retryAfterS); // a proxy has responded in place of the service
  }
}

async function orUnreachable(promise, signal) {
  try {
    return await promise;
  } catch {
    signal?.throwIfAborted();
    throw unreachable();
  }
}

function unreachable() {
  return new Problem(0, { detail: "The service could not be reached. Check your connection and try again." });
}
