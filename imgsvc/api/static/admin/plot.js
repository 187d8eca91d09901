/** Plots of an hour, minute by minute, as SVG: stacked bars or an area, and a line above them. */

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 150;
const BOTTOM = 20; // for the times
const TOP = 16; // for the number of the highest

/** An SVG with one bar a minute, stacked of the values of each of `series` ({ name, values }), which gives its class.
 * `text` says the same in words. `line`, if given, is a series drawn as a line.
 */
export function plot({ minutes, series, line, text }) {
  const totals = minutes.map((_, at) => series.reduce((sum, { values }) => sum + values[at], 0));
  const highest = Math.max(1, ...totals, ...(line?.values ?? []));
  const svg = node("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": text, class: "plot" });
  const scale = (value) => (value / highest) * (HEIGHT - BOTTOM - TOP);
  const slot = WIDTH / minutes.length;
  svg.append(axis(), label(0, TOP - 5, highest, "start"));
  const base = minutes.map(() => HEIGHT - BOTTOM);
  for (const { name, values } of series) {
    svg.append(node("path", { class: name, d: values.map((value, at) => bar(at, value)).join("") }));
  }
  if (line) {
    const points = line.values.map((value, at) => `${(at + 0.5) * slot},${HEIGHT - BOTTOM - scale(value)}`);
    svg.append(node("polyline", { class: line.name, points: points.join(" ") }));
  }
  for (const [at, anchor] of [
    [0, "start"],
    [Math.floor(minutes.length / 2), "middle"],
    [minutes.length - 1, "end"],
  ]) {
    svg.append(label(anchor === "end" ? WIDTH : at * slot, HEIGHT - 5, minutes[at], anchor));
  }
  return svg;

  function bar(at, value) {
    if (!value) return "";
    const height = Math.max(1, scale(value));
    base[at] -= height;
    return `M${at * slot + 1} ${base[at]}h${slot - 2}v${height}h${2 - slot}z`;
  }
}

function axis() {
  return node("path", { class: "axis", d: `M0 ${HEIGHT - BOTTOM + 0.5}H${WIDTH}` });
}

function label(x, y, text, anchor) {
  const made = node("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function node(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}
