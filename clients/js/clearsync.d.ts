/** The JavaScript client of clearsync. What goes over the wire, and why: docs/protocol.md. */

/** What was handled: the pair. The `Id` names the entity (the ticket, the appointment), not the notification. */
export interface Event {
  /** One of the vendor's names, spelt as the server spells it: `NewTicket`, `AppointmentCancelled` … */
  Type: string;
  Id: number;
}

/** The same with the time at which it was handled, in ms since 1970 by the server's clock. */
export interface HandledEvent extends Event {
  At: number;
}

/** Dismiss the notifications of these pairs whose own time is not later than `At`. */
export interface Clear {
  cursor: string;
  at: number;
  events: HandledEvent[];
}

/** A notification as the app has it. `time`: when it was issued, in ms by the server's clock, see `Connection.now`. */
export interface Notification extends Event {
  time?: number | Date;
}

/**
 * Who signs in. An authorization is a whole header, like `Bearer …` or `SoTicket …`. With `cookie` it is the session of
 * the browser; `xsrf` is the token that it was begun with, by default that of the cookie `XSRF-TOKEN`.
 */
export type Credentials =
  { user: string; password: string } | { authorization: string; appToken?: string } | { cookie: true; xsrf?: string };

/** Where cursors are kept. The keys name server, agent and device. */
export interface CursorStore {
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  set(key: string, cursor: string): unknown;
}

/** Why it is not live, or ended. `code`: a close code, an HTTP status, or a word like `unreadable`, if any told it. */
export interface Reason {
  reason: string;
  code?: number | string;
}

export type State = "connecting" | "live" | "waiting" | "stopped";

/** What a rejected promise carries: `code` as in `Reason`, none where no answer came. */
export interface Failure extends Error {
  code?: number | string;
}

/** All in milliseconds, but for `tombstones`, which counts. The defaults are in brackets. */
export interface Timing {
  /** The n-th wait is anywhere from 0 to the smaller of cap and base · 2ⁿ (500, 30,000). */
  backoffBaseMs?: number;
  backoffCapMs?: number;
  /** For a connection and its welcome, an HTTP answer, or a sign of life that was asked for (10,000). */
  answerMs?: number;
  /** Over the server's `ping`, before it is asked for one (5,000). */
  pingMarginMs?: number;
  /** How long, and how many, clears are remembered for notifications that come after them (600,000, 5,000). */
  tombstoneMs?: number;
  tombstones?: number;
  /** How long a tab that was reloaded waits for the lock of its former self (500). */
  tabMs?: number;
  /** How long the event stream comes first after a websocket did not come about (600,000). */
  websocketAgainMs?: number;
}

export interface Options {
  /** The server with its base path, `https://host/base`. In a browser by default the page's origin. */
  url?: string;
  /** Credentials may go over plain http beyond this machine. Without it such a `url` is a TypeError. */
  insecure?: boolean;
  /** Whose notifications these are; by default the `user` of the credentials. Without it no cursor is kept. */
  agent?: string;
  /** This device's id, for an app that runs once: its cursor is in `localStorage`. By default one for each tab. */
  device?: string;
  /** Or a function that gives them, asked again when they are refused or about to end. In a browser: the cookie. */
  credentials?: Credentials | (() => Credentials | Promise<Credentials>);
  /** Needs `agent`: the cursor of another agent would hide clears. */
  cursorStore?: CursorStore;
  /** Where to start, whatever the store has; `"0"` is from the beginning. */
  cursor?: string;
  /** Dismiss. May be async; the cursor moves when it is done. If it fails the same clear comes again. */
  onClear?(clear: Clear): unknown;
  /** What was missed is not known: fetch the list of notifications. The same rules. */
  onReset?(): unknown;
  onState?(state: State, detail?: Partial<Reason> & { transport?: "websocket" | "sse"; inMs?: number }): void;
  /** Each frame as it is on the wire. */
  onFrame?(direction: "in" | "out", text: string): void;
  /** `auto` takes the websocket, and the event stream where websockets do not come about. */
  transport?: "auto" | "websocket" | "sse";
  /** Others than the global ones. Node.js before 22 has no `WebSocket`: `auto` is then the event stream. */
  WebSocket?: unknown;
  /** One that gives streaming bodies. */
  fetch?: typeof fetch;
  timing?: Timing;
  /** From 0 up to 1, for the jitter. */
  random?: () => number;
}

export interface Connection {
  readonly state: State;
  /** This device's id. A tab's is known when the first `connecting` is told. */
  readonly device: string;
  /** The position after the last frame that was applied. */
  readonly cursor: string | undefined;
  /**
   * Report a batch of at most 1,000. Resolves when it is in the store; tried again until it is, or is refused, or the
   * connection is closed. Rejects with a `Failure`.
   */
  handled(events: Event[]): Promise<void>;
  /** Those of the events that are handled already, with the time. Rejects with a `Failure`. */
  check(events: Event[]): Promise<HandledEvent[]>;
  /**
   * For a notification that arrives: whether a clear for it came already, or this device handled it. Without a `time`
   * of its own it is new now. One that is newer than the clear makes the clear forgotten.
   */
  shouldDismiss(notification: Notification): boolean;
  /** The server's clock: the time to give a notification that says none itself. */
  now(): number;
  /**
   * Show other credentials of the same agent without ending the connection: this authorization, or what `credentials`
   * gives now. It is done by itself before they end, where `credentials` is a function.
   */
  refresh(authorization?: string): Promise<void>;
  /** The network is back: try at once. By itself in browsers; for React Native call it. */
  wake(): void;
  /** Final: no callback is called after it. */
  close(): void;
}

/** Connects, and stays connected until `close`. Throws a TypeError for options that can't work. */
export function connect(options: Options): Connection;
