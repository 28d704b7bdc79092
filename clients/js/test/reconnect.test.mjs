/** When a connection ends: whether to come back, after how long, and with what. */

import assert from "node:assert/strict";
import test from "node:test";
import { browser, clear, Gateway, live, opened, settled, until } from "./fakes.mjs";

for (const [code, least] of [
  [1000, 0],
  [1001, 0],
  [1005, 0],
  [1006, 0],
  [1011, 0],
  [1012, 0],
  [1008, 60_000],
  [4008, 60_000],
  [4999, 0],
])
  test(`after ${code} it comes back, not before ${least} ms`, async (t) => {
    const { socket, states, gateway } = await live(t);
    socket.end(code, "told so");
    await until(() => states("waiting").length);
    assert.deepEqual(states("waiting"), [{ reason: "told so", code, inMs: least + 0.5 }]);
    if (!least) (await gateway.link(1)).welcome();
  });

for (const code of [1009, 4003, 4009, 4001])
  test(`after ${code} it stops`, async (t) => {
    const { socket, states, connection } = await live(t);
    socket.end(code);
    await until(() => connection.state === "stopped");
    assert.deepEqual(states("stopped"), [{ reason: `closed (${code})`, code }]);
  });

for (const [status, headers, least] of [
  [408, {}, 0],
  [429, {}, 60_000],
  [429, { "Retry-After": "2" }, 2000],
  [500, {}, 0],
  [502, { "Retry-After": "soon" }, 0],
  [503, { "Retry-After": "3" }, 3000],
  [503, { "Retry-After": "9999" }, 300_000],
])
  test(`after ${status} ${JSON.stringify(headers)} it tries again, not before ${least} ms`, async (t) => {
    const gateway = new Gateway();
    gateway.answers["/ticket"].unshift(gateway.status(status, headers));
    const { states } = opened(t, { gateway });
    await until(() => states("waiting").length);
    assert.deepEqual(states("waiting"), [{ reason: `it is ${status} (${status})`, code: status, inMs: least + 0.5 }]);
    if (!least) await gateway.link(0);
  });

for (const status of [400, 401, 403, 404, 302])
  test(`after ${status} it stops`, async (t) => {
    const gateway = new Gateway();
    gateway.answers["/ticket"] = [gateway.status(status)];
    const { states } = opened(t, { gateway });
    await until(() => states("stopped").length);
    assert.deepEqual(states("stopped"), [{ reason: `it is ${status} (${status})`, code: status }]);
    assert.equal(gateway.links.length, 0);
  });

test("a redirect is not followed: credentials are for the address that was given", async (t) => {
  const gateway = new Gateway();
  let redirect;
  const fetch = async (url, init) => {
    redirect = init.redirect;
    return { ok: false, status: 0, headers: new Headers(), json: async () => assert.fail("opaque") };
  };
  const { states } = opened(t, { gateway, fetch });
  await until(() => states("stopped").length);
  assert.equal(redirect, "manual");
});

test("waits are anywhere up to base · 2ⁿ and the cap, and n counts from the last welcome", async (t) => {
  const { gateway, states } = opened(t, { transport: "websocket", timing: { backoffBaseMs: 1, backoffCapMs: 6 } });
  for (let n = 0; n < 5; n++) (await gateway.link(n)).end(1006);
  await until(() => states("waiting").length === 5);
  (await gateway.link(5)).welcome().end(1006);
  await until(() => states("waiting").length === 6);
  assert.deepEqual(
    states("waiting").map(({ inMs }) => inMs),
    [0.5, 1, 2, 3, 3, 0.5],
  );
});

test("it goes on from the last cursor", async (t) => {
  const { gateway, socket, connection } = await live(t);
  socket.push(clear(7));
  socket.end(1012);
  assert.match((await gateway.link(1)).url, /cursor=s-7&/);
  assert.equal(connection.cursor, "s-7");
});

test("the network is back: at once, and the waits begin anew, but not before what has to be", async (t) => {
  const [windows, page] = [new EventTarget(), Object.assign(new EventTarget(), { hidden: true, location: {} })];
  browser(t, { document: page, addEventListener: windows.addEventListener.bind(windows) });
  const slow = { backoffBaseMs: 1e8, backoffCapMs: 1e9 };
  const { gateway, connection, states } = opened(t, { transport: "websocket", timing: slow });
  (await gateway.link(0)).end(1006);
  await until(() => connection.state === "waiting");
  page.dispatchEvent(new Event("visibilitychange"));
  await settled();
  assert.equal(gateway.links.length, 1, "it is hidden");
  page.hidden = false;
  page.dispatchEvent(new Event("visibilitychange"));
  (await gateway.link(1)).end(1006);
  await until(() => states("waiting").length === 2);
  assert.equal(states("waiting")[1].inMs, states("waiting")[0].inMs);
  windows.dispatchEvent(new Event("online"));
  (await gateway.link(2)).welcome();
  await until(() => connection.state === "live");

  windows.dispatchEvent(new Event("online")); // a connection may be dead and not know
  await until(() => gateway.links[2].sent.some(({ type }) => type === "ping"));

  gateway.links[2].end(4008);
  await until(() => states("waiting").length === 3);
  windows.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(gateway.links.length, 3, "a minute is a minute");
  connection.close();
  windows.dispatchEvent(new Event("online"));
  await settled();
  assert.equal(gateway.links.length, 3);
});

test("silence is asked about once, and a connection on which nothing answers is given up", async (t) => {
  const { socket, gateway, states } = await live(t, {
    welcome: { ping: 0.01 },
    timing: { pingMarginMs: 1, answerMs: 200 },
  });
  await until(() => socket.sent.length === 1);
  assert.deepEqual(socket.sent, [{ type: "ping" }]);
  socket.push({ type: "pong" });
  await until(() => socket.sent.length === 2);
  assert.equal(states("waiting").length, 0, "it answered");
  await gateway.link(1);
  assert.equal(socket.sent.length, 2);
  assert.deepEqual([states("waiting")[0].reason, socket.closed], ["nothing came", true]);
});

test("a welcome that does not come is not waited for", async (t) => {
  const { gateway, states } = opened(t, { transport: "websocket", timing: { answerMs: 10 } });
  await gateway.link(1);
  assert.equal(gateway.links[0].closed, true);
  assert.equal(states("waiting")[0].reason, "nothing came");
});

test("nothing is called after close, whatever was under way", async (t) => {
  const { connection, socket, said } = await live(t, { onClear: () => new Promise((resolve) => (applied = resolve)) });
  let applied;
  socket.push(clear(2));
  socket.push(clear(3));
  await until(() => applied);
  const report = connection.handled([{ Type: "NewTicket", Id: 1 }]);
  const count = said.length;
  connection.close();
  connection.close();
  applied();
  socket.push(clear(4));
  socket.end(1006);
  await assert.rejects(report, /closed|lost/);
  await assert.rejects(connection.handled([{ Type: "NewTicket", Id: 1 }]), /closed/);
  await settled();
  assert.deepEqual([said.length, connection.state, connection.cursor, socket.closed], [count, "stopped", "s-1", true]);
});

test("a callback may close, and one that throws harms nothing else", async (t) => {
  t.mock.method(console, "error", () => {});
  const { connection, gateway, said } = opened(t, {
    onState: () => {
      throw Error("theirs");
    },
    onClear: () => connection.close(),
  });
  (await gateway.link(0)).welcome().push(clear(2));
  gateway.links[0].push(clear(3));
  await until(() => connection.state === "stopped");
  await settled();
  assert.deepEqual(said, []);
  assert.ok(console.error.mock.callCount() >= 2);
});

test("a connection that is closed while it is told of a frame stays closed", async (t) => {
  const { connection, gateway } = opened(t, {
    onFrame: () => connection.close(),
    timing: { pingMarginMs: 1 },
  });
  const socket = (await gateway.link(0)).welcome({ ping: 0.001 });
  await settled();
  await settled();
  assert.deepEqual(socket.sent, []);
});
