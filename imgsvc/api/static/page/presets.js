/** The choice of a preset, and a description of its variants. */

import { requestJson } from "./api.js";

const field = document.querySelector("#presets");
const select = field.querySelector("select");
const description = field.querySelector("p");

let presets = {};

/** The name of the selected preset; "" for the service's default. */
export const selectedPreset = () => select.value;

export async function load() {
  presets = (await requestJson("/presets")).presets;
  select.replaceChildren(...Object.keys(presets).map((name) => new Option(name, name, name === "default")));
  describe();
  field.hidden = false;
}

select.addEventListener("change", describe);

function describe() {
  const variants = Object.entries(presets[selectedPreset()] ?? {});
  description.replaceChildren(...variants.map(([name, variant]) => describeVariant(name, variant)));
}

function describeVariant(name, { width, height, fit, format, widths, formats }) {
  const line = document.createElement("span");
  const title = document.createElement("b");
  title.textContent = name;
  const box = [width, height].map((side) => side ?? "auto").join(" × ");
  const ratio = width && height ? ` of ${width}:${height}` : "";
  const size = widths ? `${widths.join(", ")} wide${ratio}` : box;
  const types = (formats ?? [format]).filter((type) => type !== "keep").map((type) => `, ${type.toUpperCase()}`);
  line.append(title, ` ${fit} ${size}${types.join("")}`);
  return line;
}
