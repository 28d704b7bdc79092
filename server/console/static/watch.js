/** The view of what the installation does now, for operators. */

import { Chart } from "./chart.js";
import { h, say, set } from "./dom.js";
import { quantile, rate } from "./figures.js";
import { EVERY_MS, Overview } from "./overview.js";
import { clock, duration, several } from "./times.js";
import { workersTable } from "./workers.js";

const SPAN_MS = 300_000;
const KEPT = SPAN_MS / EVERY_MS + 1;
const WINDOW = 5; // polls: one alone has too few clears for a quantile
const TO_CLEAR = "time_to_clear_seconds";
const ROUND_TRIP = "store_round_trip_seconds";

export class Watch {
  /** `shown()`: whether somebody looks. `version`: of the server that served the page. */
  constructor({ shown }) {
    this.polls = [];
    this.points = [];
    this.worker = null;
    this.charts = charts();
    this.#build();
    this.overview = new Overview({
      wanted: shown,
      onPoll: (poll) => this.#polled(poll),
      onTrouble: (status, text) => this.#trouble(status, text),
    });
  }

  /** It is shown or not, from now on. */
  look() {
    this.overview.look();
  }

  close() {
    this.overview.close();
  }

  #build() {
    this.title = h("h1", { tabindex: -1 }, "This installation, now");
    this.status = h("p.lead", {}, "Asking for the figures …");
    this.problem = h("p.problem", { role: "alert" });
    this.choice = h("select", { onchange: () => this.#choose() }, h("option", { value: "" }, "all workers"));
    this.body = h(
      "div.figures-of-all",
      { hidden: true },
      h("div.charts", {}, ...this.charts.map((chart) => chart.element)),
      (this.table = h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Figures of each worker" })),
    );
    this.element = h(
      "div.watch",
      {},
      h("div.intro", {}, h("div", {}, this.title, this.status), h("label.worker", {}, "Show ", this.choice)),
      this.problem,
      this.body,
    );
  }

  #choose() {
    this.worker = this.choice.value === "" ? null : Number(this.choice.value);
    this.points = this.polls.map((_, index) => this.#point(index));
    this.#show();
  }

  #polled(poll) {
    if (poll.now <= (this.polls.at(-1)?.now ?? 0)) return;
    this.polls = [...this.polls, poll].slice(-KEPT - WINDOW);
    this.body.hidden = false;
    say(this.problem, "");
    this.#choices(poll.numbers());
    this.points = [...this.points, this.#point(this.polls.length - 1)].slice(-KEPT);
    this.#show();
  }

  #trouble(status, text) {
    const [what, over] = explained(status, text);
    say(this.problem, what);
    if (over) {
      this.body.hidden = true;
      say(this.status, "No figures.");
    }
  }

  #choices(numbers) {
    const have = [...this.choice.options].slice(1).map((option) => Number(option.value));
    if (have.join() === numbers.join()) return;
    const all = h("option", { value: "" }, "all workers");
    this.choice.replaceChildren(all, ...numbers.map((number) => h("option", { value: number }, `worker ${number}`)));
    if (!numbers.includes(this.worker)) this.worker = null;
    this.choice.value = this.worker ?? "";
  }

  #show() {
    const poll = this.polls.at(-1);
    if (!poll) return;
    this.points = this.points.filter(({ at }) => at > poll.now - SPAN_MS - EVERY_MS);
    for (const chart of this.charts) chart.show(this.points);
    say(this.status, summary(poll));
    const workers = poll.numbers();
    this.table.replaceChildren(
      workersTable(poll, workers, (worker) => figures(this.polls, this.polls.length - 1, [worker])),
    );
  }

  #point(index) {
    const poll = this.polls[index];
    const answered = poll.numbers({ answered: true });
    const workers = this.worker === null ? answered : answered.filter((worker) => worker === this.worker);
    return figures(this.polls, index, workers);
  }
}

/** What is shown of `workers` at the poll `index`; null is not known. */
function figures(polls, index, workers) {
  const [poll, before, first] = [polls[index], polls[index - 1], polls[Math.max(0, index - WINDOW)]];
  const held = (name) =>
    workers.some((worker) => poll.workers.get(worker)?.figures) ? poll.total(workers, name) : null;
  const perSecond = (name) => (before ? rate(before, poll, workers, name) : null);
  const part = (name, q, labels) => (before ? quantile(first, poll, workers, name, q, labels) : null);
  return {
    at: poll.now,
    sessions: held("sessions"),
    lagging: held("lagging_sessions"),
    posts: perSecond("posts_total"),
    reports: perSecond("batches_recorded_total"),
    clears: perSecond("clears_total"),
    toClear50: part(TO_CLEAR, 0.5, { kind: "live" }),
    toClear99: part(TO_CLEAR, 0.99, { kind: "live" }),
    trip50: part(ROUND_TRIP, 0.5),
    trip99: part(ROUND_TRIP, 0.99),
  };
}

const COUNT = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const PER_SECOND = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });

function charts() {
  const count = (value) => COUNT.format(value);
  const perSecond = (value) => PER_SECOND.format(value);
  const seconds = (value) => duration(value * 1000);
  const one = (title, hint, format, least, ...series) => new Chart({ title, hint, format, least, series });
  const line = (name, key, tone) => ({ name, pick: (point) => point[key], tone });
  return [
    one("Sessions", "devices connected", count, 4, line("devices", "sessions", "a")),
    one(
      "Reports a second",
      "batches recorded, by posts and by devices",
      perSecond,
      2,
      line("recorded", "reports", "a"),
      line("posts", "posts", "b"),
    ),
    one("Clears a second", "frames written to devices at once", perSecond, 2, line("clears", "clears", "a")),
    one(
      "Time to clear",
      "from report to written frame, over ten seconds",
      seconds,
      0.001,
      line("p50", "toClear50", "a"),
      line("p99", "toClear99", "b"),
    ),
    one(
      "Store round trip",
      "from a batch to the store’s reply, over ten seconds",
      seconds,
      0.001,
      line("p50", "trip50", "a"),
      line("p99", "trip99", "b"),
    ),
    one("Lagging", "devices that read too slowly", count, 4, line("devices", "lagging", "b")),
  ];
}

function summary(poll) {
  const all = poll.numbers();
  const fit = all.filter((number) => poll.workers.get(number).ready);
  const silent = all.filter((number) => !poll.workers.get(number).figures);
  const ready =
    fit.length === all.length
      ? `${several(all.length, "worker")} ready`
      : `${fit.length} of ${all.length} workers ready`;
  const missing = silent.length ? `, no answer from ${silent.map((number) => `worker ${number}`).join(" and ")}` : "";
  return `${ready}${missing} · clearsync ${poll.version} · at ${clock(poll.now)}`;
}

/** What to say, and whether there is nothing to show any more. */
function explained(status, text) {
  if (status === 403)
    return ["These figures need the scope admin, which you do not have. Ask who keeps the users file.", true];
  if (status === 401) return ["Your session has ended: sign out, and in again.", true];
  if (status === 404) return ["This server does not tell its figures.", true];
  if (status === 503) return [`The server can’t tell now: ${text}. It is asked again every two seconds.`, false];
  if (status === 0) return ["The server can’t be reached. It is asked again every two seconds.", false];
  return [`The server answered ${status}: ${text}.`, false];
}
