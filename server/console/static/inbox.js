/**
 * The part of the CRM and of a push service, played by this page: it makes notifications and hands them to every
 * device, in the other tabs of this browser too. clearsync has no part in that, it only ever hears of what was
 * handled.
 */

import { KINDS, pairOf } from "./kinds.js";
import { Taps } from "./taps.js";

export class Inbox extends EventTarget {
  constructor(user) {
    super();
    this.open = [];
    this.cleared = new Map();
    this.sent = new Map();
    this.offset = 0;
    this.channel = new BroadcastChannel(`clearsync.console ${user}`);
    this.taps = new Taps((tap) => this.channel.postMessage({ tap }));
    this.channel.onmessage = ({ data }) => {
      if (data.tap) this.taps.heard(data.tap);
      if (data.push) this.#push(data.push);
    };
  }

  /** Milliseconds since 1970 by the server's clock, once a connection has been live. */
  now() {
    return Date.now() + this.offset;
  }

  /** Take the server's clock from a connection that is live. */
  learn(connection) {
    this.offset = connection.now() - Date.now();
  }

  /** A new notification for every device; with `everywhere` in the other tabs too. */
  send({ Type, Id }, { everywhere = true } = {}) {
    const pair = pairOf({ Type, Id });
    const { samples } = KINDS[Type];
    const before = this.sent.get(Type) ?? 0;
    this.sent.set(Type, before + 1);
    const notification = {
      key: crypto.randomUUID(),
      Type,
      Id,
      text: samples[before % samples.length],
      // issued now; in the millisecond of the last clear it would count as handled
      time: Math.max(this.now(), (this.cleared.get(pair) ?? 0) + 1),
    };
    this.#push(notification);
    if (everywhere) this.channel.postMessage({ push: notification });
    return notification;
  }

  /** What was handled at `At` is no longer in the list that a device can fetch. */
  handled({ Type, Id, At }) {
    const pair = pairOf({ Type, Id });
    this.cleared.set(pair, Math.max(At, this.cleared.get(pair) ?? 0));
    this.open = this.open.filter((one) => pairOf(one) !== pair || one.time > At);
  }

  /** Nothing more is sent or heard. */
  close() {
    this.channel.close();
  }

  #push(notification) {
    this.open.push(notification);
    this.dispatchEvent(new CustomEvent("push", { detail: notification }));
  }
}
