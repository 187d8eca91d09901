/** The visitor's API key: asked for when the service wants one, and kept for as long as the tab lives. */

const STORED = "imgsvc.key";

const dialog = document.querySelector("#key-dialog");
const form = dialog.querySelector("form");
const input = dialog.querySelector("input");
const reason = dialog.querySelector("[role=alert]");

let asking = null;
let declined = false;

export const currentKey = () => sessionStorage.getItem(STORED) ?? "";

export function forgetKey() {
  sessionStorage.removeItem(STORED);
}

/** Whether there is another key than the one that was refused. However many calls ask, the visitor is asked once. */
export async function renewKey(refused, detail) {
  if (currentKey() !== refused) return true;
  if (declined) return false;
  asking ??= askForKey(refused ? "The service does not know this key." : detail).finally(() => (asking = null));
  return asking;
}

/** Shows the dialog. Resolves to whether a key was given. */
export async function askForKey(why = "") {
  reason.textContent = why;
  input.value = "";
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((closed) => dialog.addEventListener("close", closed, { once: true }));
  declined = dialog.returnValue !== "given";
  document.dispatchEvent(new Event("keychange"));
  return !declined;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem(STORED, input.value.trim());
  dialog.close("given");
});
dialog.querySelector("button[type=button]").addEventListener("click", () => dialog.close());
