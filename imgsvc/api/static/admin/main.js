/** Connects the parts of the operators' page. */

import { Problem, requestJson } from "../page/api.js";
import { askForKey } from "../page/key-dialog.js";
import { forgetKey, storedKey } from "../shared/api-key.js";
import * as bulk from "./bulk.js";
import { FAILURE_CODES } from "./failure-codes.js";
import { showStats } from "./figures.js";
import * as filter from "./filter.js";
import { formatSecond } from "./format.js";
import { List } from "./list.js";
import { poll } from "./poll.js";
import { openStory } from "./story.js";

const STATS_MS = 2000;
const LIST_MS = 4000;

const notice = document.querySelector("#notice");
const content = document.querySelector("#content");
const updated = document.querySelector("#updated");
const keyButton = document.querySelector("#key");
const form = document.querySelector("#search");
const retryAll = document.querySelector("#retry-all");
const cancelAll = document.querySelector("#cancel-all");

const list = new List(openStory);
let watching = null;

keyButton.addEventListener("click", async () => {
  if (storedKey()) {
    forgetKey();
    location.reload();
  } else if (await askForKey()) watch();
});
document.addEventListener("keychange", updateKeyButton);
form.addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
form.addEventListener("reset", () => setTimeout(search)); // the fields are empty then
for (const select of form.querySelectorAll("select")) select.addEventListener("change", search);
retryAll.addEventListener("click", () => beginBulk("retry"));
cancelAll.addEventListener("click", () => beginBulk("cancel"));

filter.begin(FAILURE_CODES);
updateKeyButton();
keyButton.hidden = !storedKey(); // until the service asks for one
watch();

/** Follows the service until the key is another one. */
function watch() {
  watching?.abort();
  watching = new AbortController();
  const { signal } = watching;
  poll(() => loadStats(signal), STATS_MS, onError, signal);
}

async function loadStats(signal) {
  const stats = await requestJson("/admin/stats", { signal });
  notice.textContent = "";
  showStats(stats, { onCode: searchForCode, onJob: openStory });
  updated.textContent = `As of ${formatSecond(stats.at)}`;
  if (content.hidden) {
    content.hidden = false;
    search();
    poll(() => (list.isAtTop ? list.refresh() : null), LIST_MS, onError, signal);
    poll(() => bulk.showActions(signal), STATS_MS, onError, signal);
  }
}

/** What is shown stays, and says that it is no longer new; without a right to it, nothing is asked again. */
function onError(error) {
  if (error.name === "AbortError") return true;
  if (!(error instanceof Problem)) throw error;
  notice.textContent = error.message;
  const isRefused = error.status === 401 || error.status === 403;
  if (isRefused) {
    content.hidden = true;
    keyButton.hidden = false;
    watching.abort();
  }
  return !isRefused;
}

function search() {
  const wanted = filter.read();
  filter.remember(wanted);
  retryAll.disabled = !bulk.isFor("retry", wanted);
  cancelAll.disabled = !bulk.isFor("cancel", wanted);
  list.search(wanted);
}

function searchForCode(code) {
  filter.chooseCode(code);
  search();
  form.scrollIntoView({ block: "start" });
  form.querySelector("[name=code]").focus({ preventScroll: true });
}

async function beginBulk(action) {
  try {
    if (await bulk.begin(action, filter.read())) await bulk.showActions();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    notice.textContent = error.message;
    notice.scrollIntoView({ block: "nearest" });
  }
}

function updateKeyButton() {
  keyButton.hidden = false;
  keyButton.textContent = storedKey() ? "Remove API key" : "Enter API key";
}
