/**
 * One device of the agent: a list of notifications, and a connection of its own by `clearsync.js`, as an app would
 * hold it. Nothing of the page is touched here; who shows it listens to `changed`, `arrived`, `gone`, `stayed` and
 * `renewed`.
 *
 * 1. List and cursor are kept together, in this tab (docs/protocol.md, "The cursor").
 * 2. What was dismissed stays in `outbox` until the server has recorded it, offline or not.
 * 3. A notification that is newer than the clear of its pair stays. So a dismissal that is not told yet is forgotten
 *    when a newer notification of its pair arrives: told now, it would take that one away from the others.
 */

import { connect } from "./clearsync.js";
import { pairOf } from "./kinds.js";
import { SERVER, ended } from "./session.js";
import { instant } from "./taps.js";

const SIGN_IN_AGAIN = new Set([401, 4001]);

export class Device extends EventTarget {
  /** `kept`: `{id, name, kind, online, list, outbox}` as `record()` gave it. */
  constructor(kept, { user, inbox, cursors, onFrame }) {
    super();
    Object.assign(this, { online: true, list: [], outbox: [] }, kept);
    this.user = user;
    this.inbox = inbox;
    this.cursors = cursors;
    this.onFrame = onFrame;
    this.state = "offline";
    this.detail = {};
    this.connection = null;
    this.line = null;
    this.liveSince = Infinity;
    this.sending = null;
    this.push = ({ detail }) => this.receive(detail);
    inbox.addEventListener("push", this.push);
    if (this.online) this.goOnline();
  }

  /** What a reload of the page begins with. */
  record() {
    const { id, name, kind, online, list, outbox } = this;
    return { id, name, kind, online, list, outbox };
  }

  goOnline() {
    this.online = true;
    const line = (this.line = {});
    const mine = () => this.line === line; // not of a connection that was hung up
    this.connection = connect({
      url: SERVER,
      agent: this.user,
      device: this.id,
      credentials: { cookie: true },
      cursorStore: this.cursors,
      onClear: (clear) => mine() && this.#clear(clear),
      onReset: () => mine() && this.#reset(),
      onState: (state, detail) => mine() && this.#enter(state, detail ?? {}),
      onFrame: (direction, text) => this.onFrame(this, direction, text),
    });
    this.#enter(this.connection.state, {});
  }

  goOffline() {
    this.online = false;
    this.#hangUp();
    this.#enter("offline", {});
  }

  /** The end of this device. */
  remove() {
    this.inbox.removeEventListener("push", this.push);
    this.#hangUp();
  }

  /** A notification arrives, by a way of its own: a push service does not ask whether clearsync is connected. */
  receive(notification) {
    if (this.connection?.shouldDismiss(notification)) return;
    const pair = pairOf(notification);
    if (this.state !== "live") this.outbox = this.outbox.filter((event) => pairOf(event) !== pair);
    this.list.unshift({ ...notification });
    this.#tell("arrived", notification);
  }

  /** The person is done with it: gone here, and told to the server as soon as there is a connection. */
  dismiss(notification) {
    const pair = pairOf(notification);
    const late = this.state !== "live";
    if (!late) this.inbox.taps.tapped(pair, this.name);
    const same = this.list.filter((one) => pairOf(one) === pair);
    this.list = this.list.filter((one) => pairOf(one) !== pair);
    this.outbox.push({ Type: notification.Type, Id: notification.Id, late });
    this.#report(); // before the page is touched: the others are waiting
    this.#tell("gone", { notifications: same, how: "here" });
  }

  async #report() {
    const { connection } = this;
    if (!connection || this.state !== "live" || this.sending === connection || !this.outbox.length) return;
    this.sending = connection;
    const events = [...this.outbox];
    const told = () => (this.outbox = this.outbox.filter((event) => !events.includes(event)));
    for (const event of events) if (event.late) this.inbox.taps.tapped(pairOf(event), this.name, true);
    try {
      await connection.handled(events);
      told();
      this.#tell("reported");
    } catch (problem) {
      if (connection === this.connection) {
        told(); // refused for good: asking again would be refused again
        this.#enter(this.state, { ...this.detail, refused: String(problem.message ?? problem) });
      }
    } finally {
      if (this.sending === connection) this.sending = null;
    }
    this.#tell("changed");
    this.#report();
  }

  #clear({ events }) {
    const arrived = instant();
    for (const event of events) {
      const pair = pairOf(event);
      const same = this.list.filter((one) => pairOf(one) === pair);
      const older = same.filter((one) => one.time <= event.At);
      this.inbox.handled(event);
      this.list = this.list.filter((one) => !older.includes(one));
      if (older.length) this.#gone(older, event, arrived);
      for (const newer of same.filter((one) => one.time > event.At)) {
        newer.outlived = event.At;
        this.#tell("stayed", newer);
      }
    }
    this.#tell("changed");
  }

  #gone(notifications, event, arrived) {
    const away = event.At <= this.liveSince;
    const by = away ? Promise.resolve(null) : this.inbox.taps.before(pairOf(event), arrived);
    this.#tell("gone", { notifications, how: away ? "away" : "elsewhere", at: event.At, by });
  }

  /** History is gone on the server: the list is fetched anew. */
  #reset() {
    this.list = [...this.inbox.open].reverse().map((one) => ({ ...one }));
    this.#tell("renewed");
  }

  #enter(state, detail) {
    this.state = state;
    this.detail = detail;
    if (state === "live") {
      this.inbox.learn(this.connection);
      this.liveSince = this.inbox.now();
      this.#report();
    } else {
      this.liveSince = Infinity;
      if (state !== "offline" && SIGN_IN_AGAIN.has(detail.code)) ended();
    }
    this.#tell("changed");
  }

  #hangUp() {
    const { connection } = this;
    this.connection = null;
    this.line = null;
    this.sending = null;
    connection?.close();
  }

  #tell(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}
