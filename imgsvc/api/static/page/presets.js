/** The choice of a preset, and what each one makes. */

import { call } from "./api.js";

const field = document.querySelector("#presets");
const select = field.querySelector("select");
const description = field.querySelector("p");

let known = {};

/** The name of the preset that is chosen; "" for the service's own choice. */
export const chosen = () => select.value;

export async function load() {
  known = (await call("/presets")).presets;
  select.replaceChildren(...Object.keys(known).map((name) => new Option(name, name, name === "default")));
  describe();
  field.hidden = false;
}

select.addEventListener("change", describe);

function describe() {
  const variants = Object.entries(known[chosen()] ?? {});
  description.replaceChildren(...variants.map(([name, variant]) => described(name, variant)));
}

function described(name, { width, height, fit, format }) {
  const line = document.createElement("span");
  const title = document.createElement("b");
  title.textContent = name;
  const box = [width, height].map((side) => side ?? "auto").join(" × ");
  line.append(title, ` ${fit} ${box}${format === "keep" ? "" : `, ${format.toUpperCase()}`}`);
  return line;
}
