/** A small chart of lines over time, with its figures in words and as a table for those who don't see it. */

import { h, nextId, s, say, set } from "./dom.js";
import { clock } from "./times.js";

const HEIGHT = 120;
const EDGE = { top: 8, right: 6, bottom: 18, left: 56 };
const ROWS = 15;
const LEAST_SPAN_MS = 60_000;

export class Chart {
  /**
   * `series`: `{name, pick(point), tone}`; `format(value)` gives its unit; `least` is what the axis reaches anyway.
   */
  constructor({ title, hint, series, format, least }) {
    Object.assign(this, { title, series, format, least, span: LEAST_SPAN_MS });
    this.points = [];
    const id = nextId("chart");
    this.now = series.map(({ tone }) => h("span.now", { "data-tone": tone }, "–"));
    this.svg = s("svg", { role: "img", "aria-labelledby": id, height: HEIGHT });
    this.words = h("p.unseen", { id });
    this.readout = h("p.readout", { hidden: true });
    this.table = h("tbody", {});
    this.details = h("details", { ontoggle: () => this.#tabulate() }, h("summary", {}, "As a table"), this.#frame());
    this.element = h(
      "section.chart",
      { "aria-label": title, "data-chart": title },
      h("h2", {}, title),
      h("p.hint", {}, hint),
      h("p.figures", {}, ...this.#legend()),
      h("div.plot", {}, this.svg, this.readout),
      this.words,
      this.details,
    );
    this.svg.addEventListener("pointermove", (event) => this.#point(event));
    this.svg.addEventListener("pointerleave", () => this.#unpoint());
    new ResizeObserver(() => this.#draw()).observe(this.svg);
  }

  /** Show these points, `{at, …}`, the newest last. */
  show(points) {
    this.points = points;
    const last = points.at(-1);
    this.span = Math.max(LEAST_SPAN_MS, last ? last.at - points[0].at : 0);
    this.series.forEach(({ pick }, index) => say(this.now[index], last ? this.#text(pick(last)) : "–"));
    say(
      this.words,
      `${this.title}, from ${this.#begin()} until now. ${this.series.map((one) => this.#told(one)).join(" ")}`,
    );
    this.#draw();
    this.#tabulate();
  }

  #begin() {
    const seconds = Math.round(this.span / 1000);
    return seconds < 120 ? `${seconds} s ago` : `${Math.round(seconds / 60)} min ago`;
  }

  #legend() {
    return this.series.map(({ name }, index) => h("span.figure", {}, this.now[index], h("span.name", {}, name)));
  }

  #frame() {
    const heads = ["Time", ...this.series.map(({ name }) => name)].map((name) => h("th", { scope: "col" }, name));
    const caption = h("caption.unseen", {}, this.title);
    return h("table", {}, caption, h("thead", {}, h("tr", {}, ...heads)), this.table);
  }

  #text(value) {
    return value === null || value === undefined ? "–" : this.format(value);
  }

  #told({ name, pick }) {
    const values = this.points.map(pick).filter((value) => value !== null && value !== undefined);
    if (!values.length) return `${name}: none.`;
    const last = this.#text(pick(this.points.at(-1)));
    return `${name}: now ${last}, between ${this.#text(Math.min(...values))} and ${this.#text(Math.max(...values))}.`;
  }

  #tabulate() {
    if (!this.details.open) return;
    const rows = this.points.slice(-ROWS).reverse();
    this.table.replaceChildren(
      ...rows.map((point) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, clock(point.at)),
          ...this.series.map(({ pick }) => h("td", {}, this.#text(pick(point)))),
        ),
      ),
    );
  }

  // the drawing

  #draw() {
    const width = this.svg.clientWidth;
    if (!width) return;
    const all = this.points.flatMap((point) => this.series.map(({ pick }) => pick(point) ?? 0));
    const top = ceiling(Math.max(this.least, ...all));
    const end = this.points.at(-1)?.at ?? 0;
    this.x = (at) => EDGE.left + ((at - end + this.span) / this.span) * (width - EDGE.left - EDGE.right);
    this.y = (value) => HEIGHT - EDGE.bottom - (value / top) * (HEIGHT - EDGE.top - EDGE.bottom);
    this.cross = s("line.cross", { y1: EDGE.top, y2: HEIGHT - EDGE.bottom, visibility: "hidden" });
    set(this.svg, { viewBox: `0 0 ${width} ${HEIGHT}` });
    this.svg.replaceChildren(...this.#grid(width, top), ...this.series.flatMap((one) => this.#line(one)), this.cross);
  }

  #grid(width, top) {
    const lines = [0, top / 2, top].flatMap((value) => [
      s("line.grid", { x1: EDGE.left, x2: width - EDGE.right, y1: this.y(value), y2: this.y(value) }),
      s(
        "text.tick",
        { x: EDGE.left - 6, y: this.y(value) + 3.5, "text-anchor": "end" },
        value ? this.format(value).replace(/\.0+\b/, "") : "0",
      ),
    ]);
    const from = s("text.tick", { x: EDGE.left, y: HEIGHT - 3 }, this.#begin());
    return [...lines, from, s("text.tick", { x: width - EDGE.right, y: HEIGHT - 3, "text-anchor": "end" }, "now")];
  }

  #line({ pick, tone }) {
    const marks = [];
    for (const run of runs(this.points, pick)) {
      const path = run.map((point) => `${this.x(point.at).toFixed(1)},${this.y(pick(point)).toFixed(1)}`).join("L");
      const [from, to] = [this.x(run[0].at).toFixed(1), this.x(run.at(-1).at).toFixed(1)];
      marks.push(s("path.area", { d: `M${from},${this.y(0)}L${path}L${to},${this.y(0)}Z`, "data-tone": tone }));
      marks.push(s("path.line", { d: `M${path}`, "data-tone": tone }));
    }
    const last = this.points.at(-1);
    const value = last ? pick(last) : null;
    if (value !== null && value !== undefined) {
      marks.push(s("circle.dot", { cx: this.x(last.at), cy: this.y(value), r: 3, "data-tone": tone }));
    }
    return marks;
  }

  #point({ offsetX }) {
    if (!this.points.length || !this.x) return;
    const near = this.points.reduce((best, one) => (off(this.x(one.at)) < off(this.x(best.at)) ? one : best));
    function off(x) {
      return Math.abs(x - offsetX);
    }
    set(this.cross, { x1: this.x(near.at), x2: this.x(near.at), visibility: "visible" });
    this.readout.hidden = false;
    const figures = this.series.map(({ name, pick }) => `${name} ${this.#text(pick(near))}`).join(", ");
    say(this.readout, `${clock(near.at)}: ${figures}`);
  }

  #unpoint() {
    this.readout.hidden = true;
    set(this.cross, { visibility: "hidden" });
  }
}

/** The points in runs that have a value; where there is none the line is broken. */
function runs(points, pick) {
  const found = [[]];
  for (const point of points) {
    const value = pick(point);
    if (value === null || value === undefined) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((run) => run.length);
}

/** The next of 1, 2, 4, 6, 8, 10, 20 … that is not less: the half of it has no more digits. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * [1, 2, 4, 6, 8, 10].find((step) => step * power >= value * 0.999);
}
