/** A gateway that does what a test says, and the parts of a browser. */

import assert from "node:assert/strict";
import { connect } from "../clearsync.js";

/** Fast, and with no wait that a test could miss. */
export const TIMING = { backoffBaseMs: 1, backoffCapMs: 4, answerMs: 2000, tabMs: 20 };

/** Resolves once `condition` gives something, with that. */
export async function until(condition, what = condition) {
  for (const end = Date.now() + 5000; Date.now() < end; await new Promise((go) => setTimeout(go, 1))) {
    const found = condition();
    if (found) return found;
  }
  assert.fail(`never: ${what}`);
}

/** Later than all that is due now. */
export const settled = () => new Promise((go) => setTimeout(go, 5));

export class Gateway {
  /** Sockets and streams, in the order in which they were opened. */
  links = [];
  requests = [];
  /** Answers to requests by a part of their path, one after the other; the last stays. */
  answers = {
    "/ticket": [() => Response.json({ ticket: "t1", expires: 30 })],
    Notifications: [() => new Response(null, { status: 204 })],
  };

  constructor() {
    const gateway = this;
    this.WebSocket = class {
      sent = [];

      constructor(url, protocol) {
        Object.assign(this, { url, protocol, gateway });
        gateway.links.push(this);
      }
      send(text) {
        this.sent.push(JSON.parse(text));
      }
      close() {
        this.closed = true;
      }
      push(frame) {
        this.onmessage({ data: typeof frame === "string" ? frame : JSON.stringify(frame) });
      }
      end(code, reason = "") {
        this.closed = true;
        this.onclose({ code, reason });
      }
      welcome(more) {
        this.push({ type: "welcome", cursor: "s-1", now: Date.now(), ping: 25, ...more });
        return this;
      }
    };
  }

  fetch = async (url, init) => {
    const { headers, body, method = "GET", credentials, signal } = init;
    const request = { url, headers, body: body && JSON.parse(body), method, credentials };
    this.requests.push(request);
    const [, answers] = Object.entries(this.answers).find(([part]) => url.includes(part)) ?? [];
    if (answers) return (answers.length > 1 ? answers.shift() : answers[0])(request);
    return this.stream(url, headers, signal);
  };

  /** The answer of an event stream, which the test writes. */
  stream(url, headers, signal) {
    let controller;
    const body = new ReadableStream({ start: (given) => void (controller = given) });
    const link = {
      url,
      headers,
      write: (piece) => controller.enqueue(typeof piece === "string" ? new TextEncoder().encode(piece) : piece),
      push: (frame) => link.write(`id: ${frame.cursor}\ndata: ${JSON.stringify(frame)}\n\n`),
      welcome: (more) => link.push({ type: "welcome", cursor: "s-1", now: Date.now(), ping: 25, ...more }),
      end: () => controller.close(),
    };
    signal.addEventListener("abort", () => {
      link.closed = true;
      controller.error(signal.reason);
    });
    this.links.push(link);
    return new Response(body, { headers: { "Content-Type": "text/event-stream" } });
  }

  /** The n-th link, once it is there. */
  link = (n) => until(() => this.links[n], `link ${n}`);

  status = (status, headers) => () =>
    Response.json({ Error: true, ErrorMessage: `it is ${status}` }, { status, headers });
}

/** A connection to a gateway of its own, and a book of what it said. It ends with the test. */
export function opened(t, options = {}) {
  const gateway = options.gateway ?? new Gateway();
  const said = [];
  const connection = connect({
    url: "https://sync.test/base",
    device: "phone",
    credentials: { user: "ada", password: "x" },
    WebSocket: gateway.WebSocket,
    fetch: gateway.fetch,
    random: () => 0.5,
    onClear: (clear) => said.push(["clear", clear.cursor, clear.events]),
    onReset: () => said.push(["reset"]),
    onState: (state, detail) => said.push([state, detail]),
    ...options,
    timing: { ...TIMING, ...options.timing },
  });
  t.after(() => connection.close());
  const states = (name) => said.filter(([state]) => state === name).map(([, detail]) => detail);
  return { connection, gateway, said, states };
}

/** The same, with a websocket that had its welcome. */
export async function live(t, options) {
  const all = opened(t, options);
  const socket = (await all.gateway.link(0)).welcome(options?.welcome);
  await until(() => all.connection.state === "live");
  return { ...all, socket };
}

export const clear = (n, ...events) => ({
  type: "clear",
  cursor: `s-${n}`,
  at: n,
  events: (events.length ? events : [n]).map((event) =>
    typeof event === "number" ? { Type: "NewTicket", Id: event } : event,
  ),
});

/** A cursor store that remembers in which order it was written. */
export function bookOfCursors(kept = {}) {
  return {
    kept,
    written: [],
    get: (key) => kept[key],
    set(key, cursor) {
      this.written.push(cursor);
      kept[key] = cursor;
    },
  };
}

/** Storage of one tab, or of all. */
export function fakeStorage(content = {}) {
  const map = new Map(Object.entries(content));
  return {
    map,
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => void map.set(key, `${value}`),
  };
}

/** Web Locks: exclusive ones, that wait until they are free or given up. */
export function fakeLocks() {
  const ends = new Map();
  return {
    held: ends,
    async request(name, { signal }, hold) {
      while (ends.has(name))
        await Promise.race([
          ends.get(name),
          new Promise((_, no) => signal.addEventListener("abort", () => no(signal.reason))),
        ]);
      const end = Promise.resolve(hold({ name })).finally(() => ends.delete(name));
      ends.set(name, end);
      return end;
    },
  };
}

/** Gives this process what pages have, for one test. */
export function browser(t, parts) {
  for (const [name, value] of Object.entries(parts)) {
    const before = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
    t.after(() => (before ? Object.defineProperty(globalThis, name, before) : delete globalThis[name]));
  }
}
