/** Asks the visitor for an API key when the service requires one. */

import { storedKey, storeKey } from "../shared/api-key.js";

const dialog = document.querySelector("#key-dialog");
const form = dialog.querySelector("form");
const input = dialog.querySelector("input");
const reason = dialog.querySelector("[role=alert]");

let asking = null;
let isDeclined = false;

/** Resolves to whether there is another key than the rejected one. Any number of requests open one dialog. */
export async function renewKey(rejectedKey, detail) {
  if (storedKey() !== rejectedKey) return true;
  if (isDeclined) return false;
  asking ??= askForKey(rejectedKey ? "This API key is not valid." : detail).finally(() => {
    asking = null;
  });
  return asking;
}

/** Opens the dialog. Resolves to whether a key was entered. */
export async function askForKey(message = "") {
  reason.textContent = message;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  isDeclined = dialog.returnValue !== "entered";
  document.dispatchEvent(new Event("keychange"));
  return !isDeclined;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  storeKey(input.value);
  dialog.close("entered");
});
dialog.querySelector("button[type=button]").addEventListener("click", () => dialog.close());
