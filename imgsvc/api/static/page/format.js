/** How figures read. */

const UNITS = ["B", "kB", "MB", "GB"];
const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const DAY_AND_TIME = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export function bytes(count) {
  let unit = 0;
  let value = count;
  while (value >= 1000 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 && unit ? value.toFixed(1) : Math.round(value)} ${UNITS[unit]}`;
}

export const size = ({ width, height }) => `${width} × ${height}`;

/** "image/jpeg" as "JPEG". */
export const kind = (mediaType) => mediaType.split("/")[1].toUpperCase();

/** The time alone where it is of today. */
export function moment(timestamp) {
  const date = new Date(timestamp);
  return (date.toDateString() === new Date().toDateString() ? TIME : DAY_AND_TIME).format(date);
}

export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
