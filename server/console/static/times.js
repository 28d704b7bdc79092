/** Times and numbers as people read them. */

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** "0.24 ms", "3.4 ms", "128 ms", "1.8 s". */
export function duration(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(1)} s`;
  return `${ms.toFixed(ms < 1 ? 2 : ms < 100 ? 1 : 0)} ms`;
}

/** The time of day of `ms` since 1970. */
export function clock(ms) {
  return CLOCK.format(ms);
}

/** "now", "2 min ago". */
export function ago(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return "now";
  if (minutes < 60) return `${minutes} min ago`;
  return minutes < 2880 ? `${Math.floor(minutes / 60)} h ago` : `${Math.floor(minutes / 1440)} days ago`;
}

/** "1 notification", "2 notifications". */
export function several(count, word) {
  return `${count} ${word}${count === 1 ? "" : "s"}`;
}
