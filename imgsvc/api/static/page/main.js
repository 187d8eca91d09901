/** Connects the parts of the page. */

import { forgetKey, storedKey } from "../shared/api-key.js";
import { Problem } from "./api.js";
import * as fileInput from "./file-input.js";
import { plural } from "./format.js";
import * as gallery from "./gallery.js";
import { askForKey } from "./key-dialog.js";
import * as presets from "./presets.js";

const notice = document.querySelector("#notice");
const reloadButton = document.querySelector("#reload");
const keyButton = document.querySelector("#key");

fileInput.listen((files, folders) => {
  const skipped = gallery.add(files, presets.selectedPreset());
  const limit = `At most ${gallery.MAX_IN_PROGRESS} can be in progress: add them again when some are done.`;
  notice.textContent = [
    folders ? `${plural(folders, "folder")} skipped. Open them and add the images inside.` : "",
    skipped.length ? `${plural(skipped.length, "image")} skipped. ${limit}` : "",
  ]
    .join(" ")
    .trim();
});

keyButton.addEventListener("click", async () => {
  if (storedKey()) {
    forgetKey();
    location.reload();
  } else if (await askForKey()) load();
});
document.addEventListener("keychange", updateKeyButton);
reloadButton.addEventListener("click", load);

addEventListener("beforeunload", (event) => {
  if (gallery.hasUnsent()) event.preventDefault();
});

updateKeyButton();
keyButton.hidden = !storedKey(); // until the service asks for one
load();

function updateKeyButton() {
  keyButton.hidden = false;
  keyButton.textContent = storedKey() ? "Remove API key" : "Enter API key";
}

async function load() {
  notice.textContent = "";
  reloadButton.hidden = true;
  try {
    await presets.load();
    await gallery.loadOlder();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    notice.textContent = error.message;
    reloadButton.hidden = error.status === 401; // the button to enter a key is there
  }
}
