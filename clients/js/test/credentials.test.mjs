/** Who signs in, and where that may be seen. */

import assert from "node:assert/strict";
import test from "node:test";
import { connect } from "../clearsync.js";
import { browser, fakeStorage, Gateway, live, opened, settled, until } from "./fakes.mjs";

test("a websocket is opened with a ticket: no credentials in a URL", async (t) => {
  const { gateway, socket } = await live(t, { credentials: { authorization: "SoTicket abc", appToken: "app" } });
  const [{ url, method, headers }] = gateway.requests;
  assert.deepEqual([url, method], ["https://sync.test/base/api/v1/sync/ticket?device=phone", "POST"]);
  assert.deepEqual(headers, { Authorization: "SoTicket abc", "SO-AppToken": "app" });
  assert.equal(socket.url, "wss://sync.test/base/api/v1/sync?device=phone&cursor=&ticket=t1");
  assert.equal(socket.protocol, "clearsync.v1");
});

test("by cookie there is no ticket, and each request carries the token of the session", async (t) => {
  browser(t, {
    document: Object.assign(new EventTarget(), {
      cookie: "a=b; XSRF-TOKEN=x1; c=d",
      location: { origin: "https://crm.test" },
    }),
    localStorage: fakeStorage(),
  });
  const gateway = new Gateway();
  const { connection } = opened(t, { gateway, url: undefined, credentials: undefined });
  const socket = (await gateway.link(0)).welcome();
  assert.equal(socket.url, "wss://crm.test/api/v1/sync?device=phone&cursor=");
  assert.equal(gateway.requests.length, 0);
  socket.end(1006);
  await connection.handled([{ Type: "NewTicket", Id: 1 }]);
  const { headers, credentials } = gateway.requests.at(-1);
  assert.deepEqual([headers["X-XSRF-TOKEN"], headers.Authorization, credentials], ["x1", undefined, "include"]);

  const given = opened(t, { transport: "sse", credentials: { cookie: true, xsrf: "x2" } });
  await given.gateway.link(0);
  assert.equal(given.gateway.requests[0].headers["X-XSRF-TOKEN"], "x2");
});

for (const [name, refuse] of Object.entries({
  4001: async (gateway, n) => (await gateway.link(n)).welcome().end(4001),
  401: (gateway, n) => n || gateway.answers["/ticket"].unshift(gateway.status(401)),
}))
  test(`after ${name} a function is asked for others`, async (t) => {
    const gateway = new Gateway();
    let asked = 0;
    if (name === "401") refuse(gateway, 0);
    const { states } = opened(t, { gateway, credentials: async () => ({ authorization: `Bearer ${++asked}` }) });
    if (name === "4001") await refuse(gateway, 0);
    await until(() => asked === 2);
    await gateway.link(name === "4001" ? 1 : 0);
    assert.equal(gateway.requests.at(-1).headers.Authorization, "Bearer 2");
    assert.equal(states("waiting").length, 1, "after a wait");
    assert.equal(states("stopped").length, 0);
  });

test("where those are refused too, before any were taken, it stops", async (t) => {
  const gateway = new Gateway();
  const { states } = opened(t, {
    gateway,
    credentials: () => ({ authorization: `Bearer ${gateway.requests.length}` }),
  });
  (await gateway.link(0)).welcome().end(4001);
  (await gateway.link(1)).welcome();
  await until(() => states("live").length === 2);
  gateway.answers["/ticket"] = [gateway.status(401)];
  gateway.links[1].end(4001);
  await until(() => states("stopped").length);
  assert.deepEqual([states("stopped")[0].code, gateway.requests.length], [401, 3]);
});

test("they are asked for once, not at each connection, and again where that failed", async (t) => {
  let asked = 0;
  const { gateway, states } = opened(t, {
    async credentials() {
      if (!asked++) throw Object.assign(Error("nobody there"), { code: "timeout", status: 401 });
      return { user: "ada", password: "x" };
    },
  });
  (await gateway.link(0)).welcome().end(1012);
  (await gateway.link(1)).welcome().end(1012);
  await gateway.link(2);
  assert.equal(asked, 2);
  assert.deepEqual([states("waiting")[0].reason, states("waiting")[0].code], ["nobody there", undefined]);
});

test("a report that is refused asks for others too", async (t) => {
  const gateway = new Gateway();
  let asked = 0;
  gateway.answers.Notifications.unshift(gateway.status(401));
  const { connection } = opened(t, {
    gateway,
    transport: "sse",
    credentials: () => ({ authorization: `Bearer ${++asked}` }),
  });
  await connection.handled([{ Type: "NewTicket", Id: 1 }]);
  assert.equal(gateway.requests.at(-1).headers.Authorization, "Bearer 2");
});

test("they are renewed before they end, and the connection stays", async (t) => {
  let asked = 0;
  const { gateway, socket, connection, states } = await live(t, {
    welcome: { expires: 1 },
    credentials: () => ({ authorization: `Bearer ${++asked}` }),
  });
  const frame = await until(() => socket.sent[0]);
  assert.deepEqual([frame.type, frame.authorization], ["refresh", "Bearer 2"]);
  socket.push({ type: "refreshed", ref: frame.ref, expires: 3600 });
  await settled();
  socket.end(4001);
  await gateway.link(1);
  assert.equal(
    gateway.requests.at(-1).headers.Authorization,
    "Bearer 3",
    "those were refused, so others are asked for",
  );
  assert.equal(states("stopped").length, 0);
  assert.equal(connection.state, "connecting");
});

test("refresh takes an authorization of the app, unless the server refuses it", async (t) => {
  const { gateway, socket, connection } = await live(t);
  const refused = connection.refresh("Bearer bad");
  await until(() => socket.sent.length === 1);
  socket.push({ type: "error", ref: socket.sent[0].ref, code: "forbidden", message: "another agent's" });
  await assert.rejects(refused, { code: "forbidden" });
  const taken = connection.refresh("Bearer good");
  await until(() => socket.sent.length === 2);
  socket.push({ type: "refreshed", ref: socket.sent[1].ref });
  await taken;
  socket.end(1006);
  await gateway.link(1);
  assert.equal(gateway.requests.at(-1).headers.Authorization, "Bearer good");
});

test("options that can't work throw", () => {
  const fine = { url: "https://x", credentials: { authorization: "Bearer x" } };
  for (const wrong of [
    { ...fine, url: undefined },
    { ...fine, credentials: undefined },
    { ...fine, cursorStore: { get() {}, set() {} } },
    { ...fine, transport: "websocket", WebSocket: null },
  ])
    assert.throws(() => connect(wrong), TypeError);
});

test("credentials that were taken once may be refused again and again", async (t) => {
  const gateway = new Gateway();
  const refused = gateway.status(401);
  const recorded = () => new Response(null, { status: 204 });
  gateway.answers["/ticket"] = [gateway.status(403)];
  gateway.answers.Notifications = [refused, recorded, refused, recorded];
  let asked = 0;
  const { connection } = opened(t, { gateway, credentials: async () => ({ authorization: `Bearer ${++asked}` }) });
  await until(() => connection.state === "stopped");
  for (let n = 0; n < 2; n++) await connection.handled([{ Type: "NewTicket", Id: n }]);
  assert.equal(asked, 3);
});

test("plain http is for this machine only", () => {
  const options = { credentials: { user: "ada", password: "x" }, WebSocket: class {}, fetch() {} };
  const elsewhere = ["sync.test", "localhost.test", "127.sync.test", "127.0.0.1.sync.test:8080/base", "[::1].test"];
  for (const host of elsewhere)
    assert.throws(() => connect({ ...options, url: `http://${host}` }), { name: "TypeError" }, host);
  for (const host of ["localhost:8080", "127.0.0.1:1/base", "[::1]"]) connect({ ...options, url: `http://${host}` }).close();
  connect({ ...options, url: "http://sync.test", insecure: true }).close();
});
