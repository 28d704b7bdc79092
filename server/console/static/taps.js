/** When something was dismissed by hand, here or in another tab of this browser: what the milliseconds count from. */

const KNOWN_FOR_MS = 60_000;
const LATE_MS = 400;

/** Milliseconds since 1970, with fractions, comparable between the tabs of a browser. */
export function instant() {
  return performance.timeOrigin + performance.now();
}

/** One for a page. `share` tells the other tabs. */
export class Taps {
  constructor(share) {
    this.share = share;
    this.known = new Map();
    this.waiting = new Set();
  }

  /** A pair was dismissed on the device of that name, now; or `late`: a while ago, and is told now. */
  tapped(pair, device, late = false) {
    const tap = { pair, device, late, at: instant() };
    this.#learn(tap);
    this.share(tap);
  }

  /** A tap in another tab. */
  heard(tap) {
    this.#learn({ ...tap, device: `${tap.device} in another tab` });
  }

  #learn(tap) {
    this.known.set(tap.pair, tap);
    for (const look of [...this.waiting]) look();
  }

  /**
   * What made `pair` vanish at `arrived`: `{device, late, ms}`, or null where it was dismissed elsewhere or longer ago.
   * Another tab's word may come a moment after the clear itself.
   */
  async before(pair, arrived) {
    return this.#find(pair, arrived) ?? (await this.#late(pair, arrived));
  }

  #find(pair, arrived) {
    const tap = this.known.get(pair);
    const ms = tap ? arrived - tap.at : -1;
    return ms >= 0 && ms < KNOWN_FOR_MS ? { device: tap.device, late: tap.late, ms } : null;
  }

  #late(pair, arrived) {
    return new Promise((resolve) => {
      const done = (found) => {
        clearTimeout(timer);
        this.waiting.delete(look);
        resolve(found);
      };
      const look = () => {
        const found = this.#find(pair, arrived);
        if (found) done(found);
      };
      const timer = setTimeout(done, LATE_MS, null);
      this.waiting.add(look);
    });
  }
}
