/** The figures of each worker side by side. */

import { h } from "./dom.js";
import { duration } from "./times.js";

const NUMBER = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const number = (value) => NUMBER.format(value);
const seconds = (value) => duration(value * 1000);
const COLUMNS = [
  ["Sessions", "sessions", number],
  ["Lagging", "lagging", number],
  ["Reports/s", "reports", number],
  ["Posts/s", "posts", number],
  ["Clears/s", "clears", number],
  ["To clear, p50", "toClear50", seconds],
  ["To clear, p99", "toClear99", seconds],
  ["Store, p50", "trip50", seconds],
];

/** A table of `workers`; `figures(worker)` as the charts take them. */
export function workersTable(poll, workers, figures) {
  const heads = ["Worker", "State", ...COLUMNS.map(([title]) => title)].map((title) =>
    h("th", { scope: "col" }, title),
  );
  return h(
    "table.workers",
    {},
    h("caption", {}, "Each worker"),
    h("thead", {}, h("tr", {}, ...heads)),
    h("tbody", {}, ...workers.map((worker) => row(worker, poll.workers.get(worker), figures(worker)))),
  );
}

function row(worker, { ready, figures }, told) {
  const state = figures ? (ready ? "ready" : "not ready") : "no answer";
  const cells = COLUMNS.map(([, key, format]) => h("td", {}, told[key] === null ? "–" : format(told[key])));
  const pill = h("span.state", { "data-state": state }, state);
  return h("tr", {}, h("th", { scope: "row" }, String(worker)), h("td", {}, pill), ...cells);
}
