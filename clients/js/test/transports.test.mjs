/** The event stream: how it is read, and when it takes the place of a websocket. */

import assert from "node:assert/strict";
import test from "node:test";
import { browser, clear, Gateway, opened, settled, until } from "./fakes.mjs";

const WELCOME = { type: "welcome", cursor: "s-1", now: 1, ping: 25 };
const text = (frame, end = "\n") => `id: ${frame.cursor}${end}data: ${JSON.stringify(frame)}${end}${end}`;
const streamed = async (t, options) => {
  const all = opened(t, { transport: "sse", ...options });
  return { ...all, stream: await all.gateway.link(0) };
};

test("a stream is asked for from the cursor, with the credentials in a header", async (t) => {
  const { gateway, connection, stream, states } = await streamed(t, {
    cursor: "s-1",
    credentials: { authorization: "Bearer x" },
  });
  const [{ url, headers, method }] = gateway.requests;
  assert.deepEqual([url, method], ["https://sync.test/base/api/v1/sync?device=phone&cursor=s-1", "GET"]);
  assert.deepEqual(headers, { Authorization: "Bearer x", Accept: "text/event-stream" });
  stream.welcome();
  await until(() => connection.state === "live");
  assert.deepEqual(states("live"), [{ transport: "sse" }]);
  stream.push(clear(5));
  await until(() => connection.cursor === "s-5");
  connection.close();
  assert.ok(stream.closed);
});

for (const end of ["\n", "\r\n"])
  test(`pieces may be cut anywhere (lines end with ${JSON.stringify(end)}), and may begin with a byte order mark`, async (t) => {
    const { connection, stream, said } = await streamed(t);
    const whole = `\uFEFFretry: 1234${end}${end}${text(WELCOME, end)}:${end}:${end}${text({ ...clear(5), note: "ä€😀\u2028" }, end)}event: x${end}${end}${text(clear(6), end)}`;
    for (const byte of new TextEncoder().encode(whole)) stream.write(Uint8Array.of(byte));
    await until(() => connection.cursor === "s-6");
    assert.deepEqual(
      said.filter(([what]) => what === "clear").map(([, cursor]) => cursor),
      ["s-5", "s-6"],
    );
  });

test("many frames in one piece are applied in order", async (t) => {
  const { connection, stream, said } = await streamed(t);
  stream.write([WELCOME, ...[5, 6, 7].map((n) => clear(n))].map((frame) => text(frame)).join(""));
  await until(() => connection.cursor === "s-7");
  assert.deepEqual(
    said.filter(([what]) => what === "clear").map(([, cursor]) => cursor),
    ["s-5", "s-6", "s-7"],
  );
});

test("a frame that is cut off is not applied, and comes again", async (t) => {
  const { connection, stream, gateway } = await streamed(t);
  stream.write(`${text(WELCOME)}data: ${JSON.stringify(clear(5))}`);
  await until(() => connection.state === "live");
  stream.end();
  assert.match((await gateway.link(1)).url, /cursor=s-1$/);
});

test("a heartbeat counts as a sign of life, silence ends it", async (t) => {
  const { connection, stream, gateway, states } = await streamed(t, { timing: { pingMarginMs: 1, answerMs: 100 } });
  stream.welcome({ ping: 0.02 });
  await until(() => connection.state === "live");
  for (const end = Date.now() + 250; Date.now() < end; await settled()) stream.write(":\n");
  assert.equal(states("waiting").length, 0);
  await gateway.link(1);
  assert.deepEqual([states("waiting")[0].reason, stream.closed], ["nothing came", true]);
});

for (const [code, state] of [
  [4001, "stopped"],
  [4003, "stopped"],
  [4008, "waiting"],
  [1012, "waiting"],
])
  test(`its last frame says why it ended: ${code}`, async (t) => {
    const { stream, states } = await streamed(t);
    stream.welcome();
    stream.write(`data: {"type":"close","code":${code},"reason":"told so"}\n\n`);
    stream.end();
    await until(() => states(state).length);
    assert.deepEqual([states(state)[0].reason, states(state)[0].code], ["told so", code]);
  });

test("its status counts where it is refused", async (t) => {
  for (const [status, state] of [
    [400, "stopped"],
    [401, "stopped"],
    [403, "stopped"],
    [404, "stopped"],
    [429, "waiting"],
    [503, "waiting"],
  ]) {
    const gateway = new Gateway();
    gateway.answers["/sync?"] = [gateway.status(status, { "Retry-After": "9" })];
    const { states } = opened(t, { gateway, transport: "sse" });
    await until(() => states(state).length);
    assert.equal(states(state)[0].code, status);
    if (state === "waiting") assert.equal(states(state)[0].inMs, 9000.5);
  }
});

test("what can't be read ends a stream for good as well", async (t) => {
  const { stream, states, connection } = await streamed(t);
  stream.welcome();
  stream.write("data: {\n\n");
  await until(() => connection.state === "stopped");
  assert.equal(states("stopped")[0].code, "unreadable");
});

test("an answer that is no stream is a lost connection", async (t) => {
  const gateway = new Gateway();
  gateway.answers["/sync?"] = [() => new Response("<html>sign in to the wifi</html>")];
  const { states } = opened(t, { gateway, transport: "sse" });
  await until(() => states("waiting").length > 1);
});

test("where websockets are blocked a stream takes their place, and is the first for a while", async (t) => {
  const { gateway, connection, states } = opened(t, { timing: { websocketAgainMs: 5000 } });
  (await gateway.link(0)).end(1006);
  const stream = await gateway.link(1);
  assert.ok(stream.headers, "it is a stream");
  assert.equal(states("waiting").length, 0, "at once");
  stream.welcome();
  await until(() => connection.state === "live");
  stream.end();
  assert.ok((await gateway.link(2)).headers);
  gateway.links[2].welcome();
  await until(() => states("live").length === 2);
  const now = Date.now();
  t.mock.method(Date, "now", () => now + 6000);
  gateway.links[2].end();
  (await gateway.link(3)).welcome();
  await until(() => states("live").length === 3);
  assert.deepEqual(
    states("live").map(({ transport }) => transport),
    ["sse", "sse", "websocket"],
  );
});

test("a websocket of which nothing comes is blocked as well", async (t) => {
  const { gateway } = opened(t, { timing: { answerMs: 10 } });
  assert.ok((await gateway.link(1)).headers);
  assert.ok(gateway.links[0].closed);
});

test("a stream does not take the place of one that was refused, or that worked", async (t) => {
  for (const code of [4003, 4008]) {
    const { gateway, states } = opened(t);
    (await gateway.link(0)).end(code);
    await until(() => states("stopped").length + states("waiting").length);
    assert.equal(gateway.links.length, 1);
  }
  const { gateway } = opened(t);
  (await gateway.link(0)).welcome().end(1006);
  assert.ok(!(await gateway.link(1)).headers);
});

test("where neither comes about it is the network, and the websocket remains the first", async (t) => {
  const gateway = new Gateway();
  gateway.answers["/sync?"] = [() => Promise.reject(TypeError("no network"))];
  const { states } = opened(t, { gateway });
  for (let n = 0; n < 3; n++) (await gateway.link(n)).end(1006);
  await until(() => states("waiting").length === 3);
  assert.equal(states("waiting")[0].reason, "no network");
  assert.ok(gateway.links.every(({ headers }) => !headers));
});

test("Node.js without WebSocket takes the stream; React Native, whose fetch does not stream, keeps to websockets", async (t) => {
  browser(t, { WebSocket: undefined });
  const node = opened(t, { WebSocket: undefined });
  assert.ok((await node.gateway.link(0)).headers);

  const gateway = new Gateway();
  browser(t, { fetch: gateway.fetch, Response: class {}, navigator: undefined, ReadableStream: undefined });
  gateway.answers["/ticket"] = [() => ({ ok: true, status: 200, text: async () => '{"ticket":"t1"}' })];
  const native = opened(t, { gateway, fetch: undefined, device: undefined });
  for (let n = 0; n < 3; n++) (await gateway.link(n)).end(1006);
  (await gateway.link(3)).welcome();
  await until(() => native.connection.state === "live");
  assert.ok(gateway.links.every(({ headers }) => !headers));
  native.connection.wake();
  assert.deepEqual(gateway.links[3].sent, [{ type: "ping" }]);
});

test("each frame on the wire can be seen", async (t) => {
  const frames = [];
  const gateway = new Gateway();
  const { connection } = opened(t, { gateway, onFrame: (...frame) => frames.push(frame) });
  const socket = await gateway.link(0);
  socket.push(WELCOME);
  connection.handled([{ Type: "NewTicket", Id: 1 }]).catch(() => {});
  await until(() => frames.length === 2);
  assert.deepEqual(frames, [
    ["in", JSON.stringify(WELCOME)],
    ["out", JSON.stringify(socket.sent[0])],
  ]);
});
