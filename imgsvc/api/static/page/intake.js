/** The ways that images come in: picked, dropped anywhere on the page, or pasted. */

const choose = document.querySelector("#choose");
const input = document.querySelector("#files");
const zone = document.querySelector("#drop");

/** Calls `onFiles` with what came, and how many folders were among it, which are left out. */
export function listen(onFiles) {
  choose.addEventListener("click", () => input.click());
  input.addEventListener("change", () => {
    onFiles([...input.files], 0);
    input.value = ""; // so that the same file can be picked again
  });
  document.addEventListener("dragover", (event) => {
    if (!event.dataTransfer.types.includes("Files")) return;
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (event.relatedTarget === null) zone.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    take(event.dataTransfer, onFiles);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData, onFiles));
}

function take({ items }, onFiles) {
  const files = [...items].filter(({ kind }) => kind === "file");
  const folders = files.filter((item) => item.webkitGetAsEntry()?.isDirectory);
  const images = files.filter((item) => !folders.includes(item)).map((item) => item.getAsFile());
  if (files.length) onFiles(images, folders.length);
}
