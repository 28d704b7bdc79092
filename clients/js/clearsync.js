/** clearsync's client, see clearsync.d.ts.
 *
 * 1. The cursor moves once the app has applied a frame, one at a time, in order. What it failed to apply comes again.
 * 2. After a frame that can't be read nothing more is applied: the next cursor would hide what it said.
 * 3. Credentials are in headers and in frames; in a URL there is at most a ticket that is used once. */

const SYNC = "/api/v1/sync";
const TIMING = {
  backoffBaseMs: 500,
  backoffCapMs: 30e3,
  pingMarginMs: 5e3,
  answerMs: 10e3,
  tombstoneMs: 6e5,
  tombstones: 5e3,
  tabMs: 500,
  websocketAgainMs: 6e5,
};

/** `code`: the close code, HTTP status or word that told it, if any; `after`: ms to wait; `who`: the credentials. */
const failure = (message, code, after, who) => Object.assign(Error(message), { code, after, who, ours: true });
const asFailure = (e) => (e?.ours ? e : failure(e?.message ?? e));
const isText = (value) => typeof value === "string";
const isInt = Number.isInteger;
const isEvent = ({ Type, Id, At }) => isText(Type) && isInt(Id) && isInt(At ?? 0);
const moves = ({ type }) => /^(welcome|clear|reset)$/.test(type);
const pair = ({ Type, Id }) => `${Type}:${Id}`;

/** Whether the same would be refused again. */
const isFinal = (code) => /^(?!408|425|429|busy|una|unde)(0|[1-4]\d\d|1009|4003|4009|[a-z_]+)$/.test(code);

function read(data) {
  try {
    const frame = isText(data) && JSON.parse(data);
    const { type, cursor, at, now, ping, events } = frame;
    if (
      isText(type) &&
      (!moves(frame) || isText(cursor)) &&
      (type !== "welcome" || (isInt(now) && ping > 0)) &&
      (type !== "clear" || (isInt(at) && events.every(isEvent)))
    )
      return frame;
  } catch {}
  throw failure(`unreadable: ${data}`.slice(0, 99), "unreadable");
}

/** A page's storage, where it has one and may use it. */
function storage(name) {
  const use = (method, ...args) => {
    try {
      return globalThis.document && globalThis[name][method](...args);
    } catch {}
  };
  return { get: (key) => use("getItem", key), set: (key, value) => use("setItem", key, value) };
}

function headersOf({ cookie, xsrf, authorization, user, password, appToken }) {
  if (cookie) return { "X-XSRF-TOKEN": xsrf ?? /\bXSRF-TOKEN=([^;]*)/.exec(globalThis.document?.cookie)?.[1] };
  authorization ??= `Basic ${btoa(String.fromCharCode(...new TextEncoder().encode(`${user}:${password}`)))}`;
  return { Authorization: authorization, ...(appToken && { "SO-AppToken": appToken }) };
}

function batchOf(events) {
  if (events.length > 1e3) throw failure("over 1000", "bad_events");
  return events.map(({ Type, Id }) => ({ Type, Id }));
}

/** Connects, and stays connected until `close`. */
export function connect(options) {
  const page = globalThis.document;
  const { transport, random = Math.random, WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = options;
  const { url = page?.location.origin, credentials = page && { cookie: true }, agent = credentials?.user } = options;
  const timing = { ...TIMING, ...options.timing };
  const base = url?.replace(/\/+$/, "");
  const streams = transport !== "websocket" && (options.fetch || "body" in (globalThis.Response ?? Object).prototype);
  const sockets = transport !== "sse" && WebSocket;
  const isSafe = options.insecure || /^http(s:|:..(localhost|127[.\d]+|\[::1])(:|\/|$))/.test(base);
  if (!isSafe || !credentials || !(streams || sockets) || (options.cursorStore && !agent))
    throw TypeError("url (https), credentials or agent is missing");

  const store = options.cursorStore ?? storage(agent && `${options.device ? "local" : "session"}Storage`);
  const scope = `clearsync ${base} ${agent}`;
  const keyOf = (device = self.device) => `${scope} ${device}`;
  const pathOf = (what = "") => `${SYNC}${what}?device=${encodeURIComponent(self.device)}`;
  const tombstones = new Map(); // in the order of arrival
  const sleepers = new Set();
  const gone = new AbortController();
  let attempts = 0;
  let broken = 0; // frames in a row that the app failed to apply
  let streamUntil = 0;
  let asking, before, begun, closed, known, link, refused, release, renewal, skew;

  function call(name, ...args) {
    try {
      if (!closed) options[name]?.(...args);
    } catch (e) {
      console.error(e);
    }
  }

  const tell = (state, detail) => call("onState", (self.state = state), detail);

  /** Full jitter, after what has to be. `hurry` ends it where nothing has to be. */
  const pause = ({ code, after }, n, told) =>
    new Promise((done) => {
      const least = after ?? (/^(429|1008|4008)$/.test(code) ? 6e4 : code === "busy" ? 1e3 : 0);
      const inMs = least + random() * Math.min(timing.backoffCapMs, timing.backoffBaseMs * 2 ** n);
      const over = () => {
        clearTimeout(timer);
        sleepers.delete(hurried);
        done();
      };
      const hurried = () => (closed || !least) && over();
      const timer = setTimeout(over, inMs);
      sleepers.add(hurried);
      told?.(inMs);
    });
  const hurry = () => sleepers.forEach((hurried) => hurried());

  /** What was cleared lately: a clear can arrive before its notification. */
  function bury(events) {
    const now = Date.now();
    for (const event of events) {
      const key = pair(event);
      const at = Math.max(event.At, tombstones.get(key)?.at ?? event.At);
      tombstones.delete(key);
      tombstones.set(key, { at, now });
    }
    for (const [key, tombstone] of tombstones) {
      if (tombstones.size <= timing.tombstones && now - tombstone.now <= timing.tombstoneMs) break;
      tombstones.delete(key);
    }
  }

  const ask = async () => (typeof credentials === "function" ? credentials() : credentials);
  const who = async () => (known ??= await (asking ??= ask().finally(() => (asking = null))));

  /** Whether another try makes no sense. Credentials that were refused are asked for again, once until some are taken. */
  function isHopeless({ code, who }) {
    if (code !== 401 && code !== 4001) return isFinal(code);
    if (who !== known) return false;
    if (refused || typeof credentials !== "function") return true;
    refused = true;
    known = null;
  }

  /** The answer's body; of a `stream` the answer, once its head is there. */
  async function request(path, init, stream) {
    const creds = await who();
    const abort = stream ?? new AbortController();
    const timer = setTimeout(() => abort.abort(), timing.answerMs);
    try {
      const response = await fetch(base + path, {
        ...init,
        headers: { ...headersOf(creds), ...init.headers },
        credentials: creds.cookie ? "include" : "omit",
        redirect: "manual",
        signal: abort.signal,
      });
      const { ok, status } = response;
      if (ok) {
        refused = false;
        return stream ? response : await response.text();
      }
      const said = (await response.json().catch(() => 0))?.ErrorMessage ?? "refused";
      const after = parseInt(response.headers.get("Retry-After"));
      throw failure(`${said} (${status})`, status, after >= 0 ? Math.min(after, 300) * 1e3 : undefined, creds);
    } finally {
      clearTimeout(timer);
    }
  }

  /** One websocket or event stream. */
  function openLink(stream, path, who) {
    const frames = [];
    const waiting = [];
    const asked = new Map();
    const abort = new AbortController();
    let ref = 0;
    let expecting, socket, timer, wake;

    function within(ms, act = mine.fail) {
      clearTimeout(timer);
      expecting = act === mine.fail;
      timer = setTimeout(act, ms, "nothing came");
    }

    function heard() {
      const ms = mine.welcome?.ping * 1e3 + timing.pingMarginMs;
      if (mine.open) within(ms, mine.probe);
      else within((ms || 0) + timing.answerMs);
    }

    function send(frame) {
      const text = JSON.stringify(frame);
      call("onFrame", "out", text);
      socket.send(text);
      expecting || within(timing.answerMs);
    }

    function pump() {
      while (mine.open && waiting.length && asked.size < 16) {
        const [frame, ...settle] = waiting.shift();
        asked.set(`${++ref}`, settle);
        send({ ...frame, ref: `${ref}` });
      }
    }

    function take(data) {
      mine.end || call("onFrame", "in", data);
      if (mine.end) return;
      try {
        const frame = read(data);
        const { type, code } = frame;
        if (stream && type === "close") throw failure(frame.reason, code);
        if (type === "welcome") mine.welcome = frame;
        if (!mine.welcome) throw failure("no welcome", "unreadable");
        mine.open = !stream;
        heard();
        came(frame);
        if (moves(frame) && frames.push(frame) > 1e3) throw failure("too many frames");
        const [yes, no] = asked.get(frame.ref) ?? [];
        type === "error" ? no?.(failure(frame.message, code)) : yes?.(frame);
        // the server takes 16 that are unanswered, and 20 a second
        if (yes) setTimeout(() => asked.delete(frame.ref) && pump(), 800);
      } catch (e) {
        mine.fail(e);
      }
      wake?.();
    }

    async function listen() {
      const { body } = await request(path, { headers: { Accept: "text/event-stream" } }, abort);
      const decoder = new TextDecoder("utf-8", { fatal: true });
      const reader = body.getReader();
      let rest = "";
      for (let piece; !(piece = await reader.read()).done;) {
        heard();
        const lines = (rest + decoder.decode(piece.value, { stream: true })).split(/\r?\n/);
        rest = lines.pop();
        for (const line of lines) if (line.startsWith("data:")) take(line.slice(5));
      }
      throw failure("connection lost");
    }

    function dial() {
      socket = new WebSocket(`ws${base.slice(4)}${path}`, "clearsync.v1");
      socket.onmessage = ({ data }) => take(data);
      socket.onerror = () => {}; // a close follows
      socket.onclose = ({ code, reason }) => mine.fail(failure(reason || `closed (${code})`, code));
    }

    const mine = {
      stream,
      who,

      /** The answer to a frame. Fails with the answer's `code`, without one where none came. */
      ask: (frame) =>
        new Promise((...settle) => {
          waiting.push([frame, ...settle]);
          pump();
        }),

      /** It ends where nothing comes now. */
      probe: () => expecting || send({ type: "ping" }),

      fail(why) {
        if (mine.end) return;
        mine.end = asFailure(why);
        mine.end.who ??= mine.who;
        mine.open = false;
        clearTimeout(timer);
        abort.abort();
        socket?.close();
        for (const settle of [...asked.values(), ...waiting]) settle.at(-1)(failure("connection lost"));
        wake?.();
      },

      /** What there is to apply. Throws how it ended, after what came before that. */
      async *frames() {
        for (;;) {
          while (frames.length) yield frames.shift();
          if (mine.end) throw mine.end;
          await new Promise((resolve) => (wake = resolve));
        }
      },
    };
    heard();
    stream ? listen().catch(mine.fail) : dial();
    return mine;
  }

  function came(frame) {
    const { type, at, now, expires } = frame;
    if (type === "welcome") {
      skew = now - Date.now();
      if (link.stream && Date.now() > streamUntil) streamUntil = Date.now() + timing.websocketAgainMs;
    }
    if (type === "clear") {
      frame.events = frame.events.map(({ Type, Id, At }) => ({ Type, Id, At: At ?? at }));
      return bury(frame.events);
    }
    if (!expires || typeof credentials !== "function" || link.stream || known?.cookie) return;
    clearTimeout(renewal); // other credentials before these end
    const inMs = Math.min(Math.max(1e3, expires * 500, expires * 1e3 - 6e4), 2e9);
    renewal = setTimeout(() => self.refresh().catch(() => {}), inMs);
  }

  async function apply({ type, cursor, at, events }) {
    try {
      if (type === "clear" && events.length) await options.onClear?.({ cursor, at, events });
      if (type === "reset") await options.onReset?.();
    } catch (e) {
      broken++;
      throw failure(`${type} not applied: ${asFailure(e).message}`);
    }
    if (closed) return;
    if (type === "welcome") {
      attempts = broken;
      refused = false;
      tell("live", { transport: link.stream ? "sse" : "websocket" });
      hurry();
    } else broken = 0;
    self.cursor = cursor;
    try {
      await store.set(keyOf(), cursor);
    } catch (e) {
      tell(self.state, { reason: `cursor not stored: ${asFailure(e).message}` });
    }
  }

  /** One connection, to its end, which it throws. */
  async function attempt(stream) {
    const creds = await who();
    let path = `${pathOf()}&cursor=${encodeURIComponent(self.cursor ?? "")}`;
    if (!stream && !creds.cookie)
      path += `&ticket=${JSON.parse(await request(pathOf("/ticket"), { method: "POST" })).ticket}`;
    if (closed) return;
    const mine = (link = openLink(stream, path, creds));
    try {
      for await (const frame of mine.frames()) {
        if (closed) return;
        await apply(frame);
      }
    } finally {
      mine.fail("closed");
      clearTimeout(renewal);
      if (stream && !mine.welcome) streamUntil = 0;
    }
  }

  /** Where a websocket does not come about and nobody says why, a stream may; then it comes first for a while. */
  async function session() {
    if (!begun) self.cursor ??= (await store.get(keyOf())) || (await store.get(keyOf(before)));
    begun = true;
    if (sockets && !(streams && Date.now() < streamUntil))
      try {
        return await attempt(false);
      } catch (e) {
        if (!streams || e !== link?.end || link.welcome || (e.code ?? 1006) !== 1006) throw e;
      }
    await attempt(true);
  }

  /** The release of this device's lock, or nothing where another tab holds it for longer than a reload takes. */
  const hold = () =>
    new Promise((settle) => {
      const locks = globalThis.navigator?.locks;
      if (!locks) return settle();
      const signal = AbortSignal.timeout(timing.tabMs);
      locks.request(keyOf(), { signal }, () => new Promise(settle)).catch(() => settle());
    });

  /** A tab's device is the one that it was before a reload. A duplicated tab has a copy of that and takes a new one, as
   * does a browser that can't tell; it goes on from that one's cursor. */
  async function identify() {
    if (self.device) return;
    const session = storage("sessionStorage");
    before = self.device = session.get(scope);
    release = before && (await hold());
    if (release) return;
    self.device = `js-${Math.random().toString(36).slice(2)}`;
    session.set(scope, self.device);
    release = await hold();
  }

  async function run() {
    await identified;
    while (!closed) {
      tell("connecting");
      const end = await session().catch(asFailure);
      if (closed) break;
      const { message: reason, code } = end;
      if (isHopeless(end)) {
        tell("stopped", { reason, code });
        break;
      }
      await pause(end, attempts++, (inMs) => tell("waiting", { reason, code, inMs }));
    }
    release?.();
  }

  const wake = () => {
    attempts = 0;
    hurry();
    if (link?.open) link.probe();
  };

  const self = {
    state: "connecting",
    device: options.device,
    cursor: options.cursor,
    wake,

    now: () => Date.now() + (skew ?? 0),

    shouldDismiss(notification) {
      bury([]);
      const key = pair(notification);
      const at = tombstones.get(key)?.at;
      const time = +(notification.time ?? self.now());
      if (time > at) tombstones.delete(key); // it is a new one
      return time <= at;
    },

    async handled(events) {
      const list = batchOf(events);
      const body = `{"NotificationEvents":${JSON.stringify(list)}}`;
      const At = Date.now() + skew; // not a number as long as the server's clock is not known
      for (let n = 0; list.length; n++)
        try {
          await identified;
          const headers = { "Content-Type": "application/json", "X-Device-Id": self.device };
          if (closed) throw failure("closed");
          if (link?.open && body.length < 6e4) await link.ask({ type: "handled", events: list });
          else await request("/api/v1/Agents/Pocket/NotificationsHandled", { method: "POST", headers, body });
          break;
        } catch (e) {
          const why = asFailure(e);
          if (closed || isHopeless(why)) throw why;
          await pause(why, n);
        }
      if (At) bury(list.map((event) => ({ ...event, At }))); // nobody sends it to this device
    },

    async check(events) {
      const list = batchOf(events);
      if (link?.open)
        try {
          return (await link.ask({ type: "check", events: list })).events;
        } catch (e) {
          if (e.code) throw e;
        }
      await identified;
      const all = JSON.parse(await request(`${pathOf()}&cursor=0`, {}));
      const wanted = new Set(list.map(pair));
      return all.events.filter((event) => wanted.has(pair(event)));
    },

    async refresh(authorization) {
      const creds = authorization ? { ...known, cookie: false, authorization } : await ask();
      const header = headersOf(creds).Authorization;
      const mine = link;
      if (header && mine?.open) {
        await mine.ask({ type: "refresh", authorization: header });
        mine.who = creds;
      }
      known = creds;
    },

    close() {
      closed = true;
      self.state = "stopped";
      gone.abort();
      link?.fail("closed");
      hurry();
    },
  };
  globalThis.addEventListener?.("online", wake, gone);
  page?.addEventListener("visibilitychange", () => page.hidden || wake(), gone);
  const identified = identify();
  run();
  return self;
}
