/** The cursor moves once the app has applied a frame, in order, one at a time, and never over what was not read. */

import assert from "node:assert/strict";
import test from "node:test";
import { bookOfCursors, clear, live, opened, settled, until } from "./fakes.mjs";

const KEY = "clearsync https://sync.test/base ada phone";

test("it starts at the stored cursor, and at an explicit one whatever is stored", async (t) => {
  const stored = opened(t, { cursorStore: bookOfCursors({ [KEY]: "s-7" }) });
  assert.match((await stored.gateway.link(0)).url, /[?&]cursor=s-7(&|$)/);
  const explicit = opened(t, { cursorStore: bookOfCursors({ [KEY]: "s-7" }), cursor: "0" });
  assert.match((await explicit.gateway.link(0)).url, /[?&]cursor=0(&|$)/);
  const first = opened(t, { cursorStore: bookOfCursors({ "clearsync https://sync.test/base bob phone": "s-7" }) });
  assert.match((await first.gateway.link(0)).url, /[?&]cursor=(&|$)/, "it is another agent's");
});

test("it is stored after onClear and onReset returned, and they are never called side by side", async (t) => {
  const cursorStore = bookOfCursors();
  const steps = [];
  let go;
  const apply = async (what) => {
    steps.push(`${what} at ${cursorStore.written.at(-1)}`);
    await new Promise((resolve) => (go = resolve));
  };
  const { socket, connection } = await live(t, {
    cursorStore,
    onClear: ({ cursor }) => apply(cursor),
    onReset: () => apply("reset"),
  });
  socket.push(clear(2));
  socket.push({ type: "reset", cursor: "s-3" });
  socket.push(clear(4));
  for (const [n, step] of ["s-2 at s-1", "reset at s-2", "s-4 at s-3"].entries()) {
    await until(() => steps.length === n + 1);
    await settled();
    assert.equal(steps.at(-1), step);
    go();
  }
  await until(() => connection.cursor === "s-4");
  assert.deepEqual(cursorStore.written, ["s-1", "s-2", "s-3", "s-4"]);
  assert.equal(cursorStore.kept[KEY], "s-4");
});

test("what the app failed to apply comes again, what followed it too, after waits that grow", async (t) => {
  const seen = [];
  let broken = true;
  const { gateway, connection, states } = await live(t, {
    timing: { backoffBaseMs: 1, backoffCapMs: 1000 },
    onClear({ cursor }) {
      seen.push(cursor);
      if (broken && cursor === "s-3") throw Error("no room");
    },
  });
  for (let n = 0; n < 3; n++) {
    const socket = await gateway.link(n);
    if (n) socket.welcome({ cursor: "s-2" });
    if (!n) socket.push(clear(2));
    socket.push(clear(3));
    socket.push(clear(4));
    await until(() => states("waiting").length === n + 1);
    assert.equal(connection.cursor, "s-2");
    assert.ok(socket.closed);
    socket.push(clear(5)); // too late
    assert.match((await gateway.link(n + 1)).url, /cursor=s-2&/);
  }
  assert.deepEqual(seen, ["s-2", "s-3", "s-3", "s-3"]);
  assert.match(states("waiting")[0].reason, /clear not applied: no room/);
  assert.deepEqual(
    states("waiting").map(({ inMs }) => inMs),
    [0.5, 1, 2],
    "half of base · 2ⁿ, n not reset by a welcome",
  );
  broken = false;
  const socket = await gateway.link(3);
  socket.welcome({ cursor: "s-2" });
  socket.push(clear(3));
  await until(() => connection.cursor === "s-3");
});

test("a store that fails to write does not hold clears up, and one that fails to read is asked again", async (t) => {
  const { connection, socket, states } = await live(t, {
    cursorStore: {
      get: () => undefined,
      set() {
        throw Error("full");
      },
    },
  });
  socket.push(clear(2));
  await until(() => connection.cursor === "s-2");
  assert.match(states("live").at(-1).reason, /not stored: full/);

  let reads = 0;
  const again = opened(t, {
    cursorStore: {
      async get() {
        if (!reads++) throw Error("locked");
        return "s-9";
      },
      set() {},
    },
  });
  assert.match((await again.gateway.link(0)).url, /cursor=s-9&/);
  assert.equal(again.states("waiting")[0].reason, "locked");
});

test("an app that is slower than the frames is cut off, applies what it has, and reads on from there", async (t) => {
  const gates = [];
  const { gateway, socket, connection } = await live(t, {
    onClear: () => new Promise((resolve) => gates.push(resolve)),
  });
  for (let n = 2; n < 1010; n++) socket.push(clear(n));
  assert.ok(socket.closed);
  await until(() => gates.length);
  for (let n = 2; connection.state === "live"; n++) {
    gates.shift()?.();
    await settled();
  }
  assert.match((await gateway.link(1)).url, /cursor=s-1002&/, "a thousand and one were taken: none applied twice, none left out");
});

test("a clear always says when, and an empty one only moves the cursor", async (t) => {
  const { said, socket, connection } = await live(t);
  socket.push(clear(5, 1, { Type: "QuoteApprovalDenied", Id: -2, At: 3, more: 1 }));
  socket.push({ ...clear(6), events: [] });
  await until(() => connection.cursor === "s-6");
  assert.deepEqual(
    said.filter(([what]) => what === "clear"),
    [
      [
        "clear",
        "s-5",
        [
          { Type: "NewTicket", Id: 1, At: 5 },
          { Type: "QuoteApprovalDenied", Id: -2, At: 3 },
        ],
      ],
    ],
  );
});

for (const text of [
  "",
  "no json",
  "[]",
  "null",
  "7",
  "{}",
  '{"type":7}',
  '{"type":"clear"}',
  '{"type":"reset"}',
  '{"type":"reset","cursor":5}',
  '{"type":"clear","cursor":"s-3","at":3}',
  '{"type":"clear","cursor":"s-3","at":"3","events":[]}',
  '{"type":"clear","cursor":"s-3","at":3,"events":[{}]}',
  '{"type":"clear","cursor":"s-3","at":3,"events":[null]}',
  '{"type":"clear","cursor":"s-3","at":3,"events":[{"Type":"NewTicket","Id":"5"}]}',
  '{"type":"clear","cursor":"s-3","at":3,"events":[{"Type":1,"Id":5}]}',
  '{"type":"clear","cursor":"s-3","at":3,"events":[{"Type":"NewTicket","Id":5,"At":"now"}]}',
  '{"type":"welcome","cursor":"s-3","now":"3","ping":25}',
  new Uint8Array([123, 125]),
])
  test(`nothing is applied after a frame that can't be read: ${text}`, async (t) => {
    const { socket, states, connection } = await live(t);
    socket.push(clear(2));
    socket.onmessage({ data: text });
    socket.push(clear(4));
    await until(() => connection.state === "stopped");
    assert.equal(connection.cursor, "s-2", "what came before it was applied, and nothing after it");
    assert.equal(states("stopped")[0].code, "unreadable");
    assert.ok(socket.closed);
  });

test("the first frame is a welcome, or nothing is believed", async (t) => {
  const { gateway, connection, states } = opened(t);
  (await gateway.link(0)).push(clear(2));
  await until(() => connection.state === "stopped");
  assert.deepEqual([connection.cursor, states("stopped")[0].code], [undefined, "unreadable"]);
});

test("types and fields that are not known are ignored, a cursor among them too", async (t) => {
  const { socket, connection } = await live(t);
  socket.push({ type: "news", cursor: "s-99", events: 5 });
  socket.push({ type: "constructor" });
  socket.push({ type: "close", code: 4003 }); // of an event stream
  socket.push({ ...clear(2), type: "clear", priority: { high: true } });
  await until(() => connection.cursor === "s-2");
  assert.equal(connection.state, "live");
});

test("a cursor that was given is stored too: the store may not have it", async (t) => {
  const store = bookOfCursors();
  const { connection } = await live(t, { cursor: "s-1", cursorStore: store, agent: "ada" });
  await until(() => store.written.length);
  assert.deepEqual([connection.cursor, Object.values(store.kept)], ["s-1", ["s-1"]]);
});
