/** The dialog in which a visitor sets the focus of an image, or cuts another version out of it. */

import { between, clamp, inPixels, inside, moved, shaped } from "./rectangle.js";
import { wholeFiles } from "./result.js";

const dialog = document.querySelector("#editor");
const form = dialog.querySelector("form");
const stage = dialog.querySelector(".stage");
const image = stage.querySelector("img");
const explanation = dialog.querySelector(".explanation");
const submit = dialog.querySelector("[type=submit]");
const alert = dialog.querySelector("[role=alert]");
const { elements } = form;

const CENTRE = { x: 0.5, y: 0.5 };
const FIRST_CROP = { x: 0.1, y: 0.1, width: 0.8, height: 0.8 };
const MAX_SIDE_PX = 8192;
const VARIANT = "crop";

const MODES = {
  focus: {
    explanation: "Click what must stay in view. Versions that are cut by the focus are made again.",
    submit: "Save focus",
    save: (upload) => upload.setFocus(rounded(focus)),
  },
  crop: {
    explanation: `Draw a rectangle. It becomes a version of its own, named ${VARIANT}.`,
    submit: "Create version",
    save: (upload) => {
      const cut = inPixels(crop, upload.result.original);
      return upload.addVariants({ [VARIANT]: { crop: cut, width: Math.min(cut.width, MAX_SIDE_PX), format: "keep" } });
    },
  },
};

let edited = null; // the upload
let focus = CENTRE;
let crop = FIRST_CROP;

export function show(upload) {
  edited = upload;
  focus = upload.status.focus ?? CENTRE;
  crop = FIRST_CROP;
  elements.mode.value = "focus";
  elements.shape.value = "";
  alert.textContent = "";
  const { width, height } = upload.result.original;
  stage.style.setProperty("--aspect", width / height);
  image.src = upload.original ? URL.createObjectURL(upload.original) : largestUrl();
  changeMode();
  update();
  dialog.showModal();
}

image.addEventListener("error", () => {
  if (!edited) return;
  const url = largestUrl(); // a browser may be unable to show the original
  if (url && image.src !== new URL(url, location.href).href) image.src = url;
  else alert.textContent = "This browser cannot show the image. Enter the numbers below instead.";
});

dialog.querySelector("button[type=button]").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => {
  URL.revokeObjectURL(image.src);
  image.removeAttribute("src");
  edited = null;
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  MODES[elements.mode.value].save(edited);
  dialog.close();
});
for (const radio of elements.mode) radio.addEventListener("change", changeMode);
form.addEventListener("change", readNumbers);
elements.shape.addEventListener("change", () => {
  const ratio = shapeRatio();
  if (ratio !== null) crop = shaped(crop, ratio);
  update();
});

stage.addEventListener("pointerdown", (event) => {
  event.preventDefault();
  const drag = elements.mode.value === "focus" ? dragFocus : dragCrop(event);
  const move = (at) => {
    drag(pointAt(at));
    update();
  };
  stage.setPointerCapture(event.pointerId);
  stage.addEventListener("pointermove", move);
  const end = () => stage.removeEventListener("pointermove", move);
  stage.addEventListener("pointerup", end, { once: true });
  stage.addEventListener("pointercancel", end, { once: true });
  move(event);
});

function dragFocus(point) {
  focus = point;
}

/** What the pointer does from here on: it moves a corner or the rectangle, or draws another one. */
function dragCrop(event) {
  const start = pointAt(event);
  const before = crop;
  const corner = event.target.dataset.corner?.split(" ").map(Number);
  if (corner) {
    const opposite = {
      x: before.x + (1 - corner[0]) * before.width,
      y: before.y + (1 - corner[1]) * before.height,
    };
    return (point) => {
      crop = between(opposite, point, shapeRatio());
    };
  }
  if (event.target.classList.contains("selection")) {
    return (point) => {
      crop = moved(before, { x: point.x - start.x, y: point.y - start.y });
    };
  }
  return (point) => {
    crop = between(start, point, shapeRatio());
  };
}

function pointAt({ clientX, clientY }) {
  const { left, top, width, height } = stage.getBoundingClientRect();
  return { x: clamp((clientX - left) / width), y: clamp((clientY - top) / height) };
}

function changeMode() {
  const mode = elements.mode.value;
  dialog.dataset.mode = mode;
  for (const numbers of form.querySelectorAll(".numbers")) {
    numbers.disabled = numbers.hidden = numbers.dataset.mode !== mode;
  }
  explanation.textContent = MODES[mode].explanation;
  submit.textContent = MODES[mode].submit;
}

function readNumbers() {
  if (!form.checkValidity()) return;
  const fraction = (name) => Number(elements[name].value) / 100;
  focus = { x: fraction("focus-x"), y: fraction("focus-y") };
  crop = inside({ x: fraction("left"), y: fraction("top"), width: fraction("width"), height: fraction("height") });
  update();
}

function update() {
  const numbers = {
    "focus-x": focus.x,
    "focus-y": focus.y,
    left: crop.x,
    top: crop.y,
    width: crop.width,
    height: crop.height,
  };
  for (const [name, fraction] of Object.entries(numbers)) {
    elements[name].value = Number((100 * fraction).toFixed(1));
    stage.style.setProperty(`--${name}`, `${100 * fraction}%`);
  }
}

/** What the rectangle's width is to its height, in fractions of the image's sides; null if it is free. */
function shapeRatio() {
  const { width, height } = edited.result.original;
  return elements.shape.value ? (Number(elements.shape.value) * height) / width : null;
}

const rounded = ({ x, y }) => ({ x: Number(x.toFixed(4)), y: Number(y.toFixed(4)) });

const largestUrl = () => wholeFiles(edited.result).at(-1)?.url ?? "";
