/**
 * Arithmetic on what `GET /api/v1/admin/overview` tells: counters, gauges and cumulative buckets of each worker
 * since its start. No elements, no clock, no requests.
 */

/** The workers' figures at one moment; a worker that did not answer has none. */
export class Poll {
  constructor({ now, ready, version, workers }) {
    Object.assign(this, { now, ready, version });
    this.workers = new Map(
      workers.map(({ worker, ready: fit, figures }) => [worker, { ready: fit, figures: figures && sorted(figures) }]),
    );
  }

  /** Numbers of the workers, or of those that answered. */
  numbers({ answered = false } = {}) {
    return [...this.workers].filter(([, { figures }]) => figures || !answered).map(([number]) => number);
  }

  /** The samples of one name of one worker, [] where there are none. */
  samples(worker, name) {
    return this.workers.get(worker)?.figures?.get(name) ?? [];
  }

  /** The sum over `workers` of all samples of that name. */
  total(workers, name) {
    return sum(workers.flatMap((worker) => this.samples(worker, name)).map(({ value }) => value));
  }
}

function sorted(figures) {
  const byName = new Map();
  for (const figure of figures) {
    if (!byName.has(figure.name)) byName.set(figure.name, []);
    byName.get(figure.name).push(figure);
  }
  return byName;
}

/** What a counter grew by; one that is less than before began anew with its worker. */
function growth(before, after) {
  return after >= before ? after - before : after;
}

function grown(earlier, later, worker, name, fits) {
  const was = new Map(earlier.samples(worker, name).map(({ labels, value }) => [JSON.stringify(labels), value]));
  return later
    .samples(worker, name)
    .filter(({ labels }) => fits(labels))
    .map(({ labels, value }) => ({ labels, value: growth(was.get(JSON.stringify(labels)) ?? 0, value) }));
}

/** How often a second a counter of `workers` counted between two polls. null where nobody answered twice. */
export function rate(earlier, later, workers, name) {
  const both = workers.filter((worker) => earlier.workers.get(worker)?.figures && later.workers.get(worker)?.figures);
  const seconds = (later.now - earlier.now) / 1000;
  if (!both.length || seconds <= 0) return null;
  return (
    sum(both.flatMap((worker) => grown(earlier, later, worker, name, () => true)).map(({ value }) => value)) / seconds
  );
}

/**
 * The value under which the part `q` of what was observed between two polls lies, in the histogram's unit: along a
 * straight line within its bucket, as PromQL does. null where nothing was observed.
 */
export function quantile(earlier, later, workers, name, q, labels = {}) {
  const buckets = observed(earlier, later, workers, name, labels);
  const count = buckets.at(-1)?.count ?? 0;
  if (!count) return null;
  const rank = q * count;
  const at = buckets.findIndex((bucket) => bucket.count >= rank);
  const { bound, count: upTo } = buckets[at];
  const below = at ? buckets[at - 1] : { bound: 0, count: 0 };
  if (bound === Infinity) return below.bound;
  return below.bound + (bound - below.bound) * ((rank - below.count) / (upTo - below.count));
}

function observed(earlier, later, workers, name, labels) {
  const fits = (those) => Object.entries(labels).every(([label, value]) => those[label] === value);
  const counts = new Map();
  for (const worker of workers) {
    if (!earlier.workers.get(worker)?.figures) continue;
    for (const { labels: those, value } of grown(earlier, later, worker, `${name}_bucket`, fits)) {
      const bound = those.le === "+Inf" ? Infinity : Number(those.le);
      counts.set(bound, (counts.get(bound) ?? 0) + value);
    }
  }
  return [...counts].map(([bound, count]) => ({ bound, count })).sort((a, b) => a.bound - b.bound);
}

function sum(values) {
  return values.reduce((total, value) => total + value, 0);
}
