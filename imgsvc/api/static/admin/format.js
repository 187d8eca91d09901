/** Formats values of the operators' page. */

const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const SECOND = new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeStyle: "medium" });

export const formatMinute = (timestamp) => MINUTE.format(new Date(timestamp));
export const formatSecond = (timestamp) => SECOND.format(new Date(timestamp));

/** Milliseconds as "63 ms", "4.2 s", "12 min" or "3.5 h"; a dash for null. */
export function formatDuration(ms) {
  if (ms === null) return "–";
  if (ms < 1000) return `${Math.max(0, Math.round(ms))} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}
