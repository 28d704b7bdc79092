/** Asks for the figures of all workers, again and again while somebody looks. */

import { Poll } from "./figures.js";
import { call, reason } from "./session.js";

export const EVERY_MS = 2000;

/** Calls `onPoll(poll)` or `onTrouble(status, text)`; asks nothing while `wanted()` is false. */
export class Overview {
  constructor({ wanted, onPoll, onTrouble }) {
    Object.assign(this, { wanted, onPoll, onTrouble });
    this.timer = 0;
    this.asking = false;
    this.closed = false;
    this.look = this.look.bind(this);
    document.addEventListener("visibilitychange", this.look);
  }

  /** Somebody may look, from now on or no more. */
  look() {
    clearTimeout(this.timer);
    if (!this.asking && !this.closed && this.wanted()) this.#ask();
  }

  /** Ask nothing any more. */
  close() {
    this.closed = true;
    document.removeEventListener("visibilitychange", this.look);
    clearTimeout(this.timer);
  }

  async #ask() {
    this.asking = true;
    const [status, said] = await read();
    this.asking = false;
    if (this.closed) return;
    if (status === 200) this.onPoll(new Poll(said));
    else this.onTrouble(status, said);
    this.timer = setTimeout(this.look, EVERY_MS);
  }
}

/** Status and the figures, or status and what is wrong; status 0 where nobody answers. */
async function read() {
  try {
    const answer = await call("api/v1/admin/overview", { signal: AbortSignal.timeout(5 * EVERY_MS) });
    return [answer.status, answer.ok ? await answer.json() : await reason(answer)];
  } catch (problem) {
    return [0, problem.message];
  }
}
