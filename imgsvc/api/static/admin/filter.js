/** What is searched for: in the form, in the page's address, and in queries to the service. */

import { Status } from "../page/job-states.js";

const form = document.querySelector("#search");
const NAMES = ["q", "status", "code", "owner"];

const STATUSES = {
  [Status.PENDING]: "Waiting",
  [Status.PROGRESS]: "Under way",
  [Status.SUCCESS]: "Done",
  [Status.FAILURE]: "Failed",
  [Status.CANCELLED]: "Cancelled",
};

/** Fills the form with what it offers, and with what the page's address asks for. */
export function begin(codes) {
  for (const [status, words] of Object.entries(STATUSES)) form.status.add(new Option(words, status));
  addCodes(codes);
  const asked = new URLSearchParams(location.search);
  if (asked.get("code")) addCodes([asked.get("code")]);
  for (const name of NAMES) if (asked.get(name)) form[name].value = asked.get(name);
}

/** Offers codes that are not offered yet. */
export function addCodes(codes) {
  const known = new Set([...form.code.options].map(({ value }) => value));
  for (const code of codes) if (!known.has(code)) form.code.add(new Option(code, code));
}

/** The filter that the form has: only what is not empty. */
export function read() {
  const values = NAMES.map((name) => [name, form[name].value.trim()]);
  return Object.fromEntries(values.filter(([, value]) => value));
}

/** Searches for uploads that failed with this code, whatever was searched for before. */
export function chooseCode(code) {
  addCodes([code]);
  form.reset();
  form.code.value = code;
}

/** Keeps the filter in the page's address, so that it can be reloaded and passed on. */
export function remember(filter) {
  const query = queryOf(filter);
  history.replaceState(null, "", query ? `?${query}` : location.pathname);
}

/** A query string of all that is neither null nor empty. */
export function queryOf(filter, more = {}) {
  const entries = Object.entries({ ...filter, ...more }).filter(([, value]) => value !== null && value !== "");
  return new URLSearchParams(entries).toString();
}
