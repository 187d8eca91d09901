/** Formats values for display. */

const UNITS = ["B", "kB", "MB", "GB"];
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const DATE_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function formatBytes(count) {
  let unit = 0;
  let value = count;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

/** An image file as "480 × 320 · JPEG · 31 kB". */
export const formatImage = ({ width, height, content_type: mediaType, bytes }) =>
  [`${width} × ${height}`, mediaType.split("/")[1].toUpperCase(), formatBytes(bytes)].join(" · ");

/** The time alone if it is today. */
export function formatTime(timestamp) {
  const date = new Date(timestamp);
  return (date.toDateString() === new Date().toDateString() ? TIME : DATE_AND_TIME).format(date);
}

export const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
