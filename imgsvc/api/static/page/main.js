/** Puts the page together. */

import { Problem } from "./api.js";
import { count } from "./format.js";
import * as gallery from "./gallery.js";
import * as intake from "./intake.js";
import { askForKey, currentKey, forgetKey } from "./key.js";
import * as presets from "./presets.js";

const notice = document.querySelector("#notice");
const keyButton = document.querySelector("#key");

intake.listen((files, folders) => {
  const left = gallery.add(files, presets.chosen());
  notice.textContent = [
    folders ? `${count(folders, "folder")} left out: drop the images themselves.` : "",
    left.length ? `${count(left.length, "image")} left out: add more when some of these are done.` : "",
  ]
    .join(" ")
    .trim();
});

keyButton.addEventListener("click", async () => {
  if (currentKey()) {
    forgetKey();
    location.reload();
  } else if (await askForKey()) load();
});
document.addEventListener("keychange", showKey);

addEventListener("beforeunload", (event) => {
  if (gallery.hasUnsent()) event.preventDefault();
});

showKey();
keyButton.hidden = !currentKey(); // until the service has asked for one
load();

function showKey() {
  keyButton.hidden = false;
  keyButton.textContent = currentKey() ? "Forget key" : "Enter key";
}

async function load() {
  notice.textContent = "";
  try {
    await presets.load();
    await gallery.loadOlder();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    notice.textContent = error.message;
  }
}
