/** The ways to add images: choosing files, dropping them anywhere on the page, pasting them. */

const chooseButton = document.querySelector("#choose");
const input = document.querySelector("#files");
const dropZone = document.querySelector("#drop-zone");

/** Calls `onFiles` with the files that are added, and the number of folders that were skipped. */
export function listen(onFiles) {
  chooseButton.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    onFiles([...input.files], 0);
    input.value = ""; // so that the same file can be chosen again
  });
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    dropZone.classList.add("active");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) dropZone.classList.remove("active");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dropZone.classList.remove("active");
    addFrom(event.dataTransfer, onFiles);
  });
  document.addEventListener("paste", (event) => addFrom(event.clipboardData, onFiles));
}

function addFrom({ items }, onFiles) {
  const entries = [...items].filter(({ kind }) => kind === "file");
  const folders = entries.filter((item) => item.webkitGetAsEntry()?.isDirectory);
  const files = entries.filter((item) => !folders.includes(item)).map((item) => item.getAsFile());
  if (entries.length) onFiles(files, folders.length);
}
