/** `handled`, `check` and `shouldDismiss`. */

import assert from "node:assert/strict";
import test from "node:test";
import { clear, Gateway, live, opened, settled, until } from "./fakes.mjs";

const EVENT = { Type: "NewTicket", Id: 12 };
const recorded = (socket, n = -1) => socket.push({ type: "recorded", ref: socket.sent.at(n).ref });

test("handled is a frame on an open websocket, and is done when it is recorded", async (t) => {
  const { connection, socket } = await live(t);
  let done;
  const report = connection.handled([{ ...EVENT, Title: "not theirs to know" }]).then(() => (done = true));
  await until(() => socket.sent.length);
  const { ref, ...frame } = socket.sent[0];
  assert.deepEqual(frame, { type: "handled", events: [EVENT] });
  assert.equal(typeof ref, "string");
  socket.push({ type: "recorded", ref: "another" });
  socket.push({ type: "recorded" });
  await settled();
  assert.ok(!done);
  recorded(socket);
  await report;
});

test("handled is a POST where there is no websocket", async (t) => {
  const { connection, gateway } = opened(t, { transport: "sse", credentials: { user: "adä€", password: "x" } });
  await connection.handled([EVENT]);
  const { url, headers, body, method, credentials } = gateway.requests.find((request) => request.method === "POST");
  assert.equal(url, "https://sync.test/base/api/v1/Agents/Pocket/NotificationsHandled");
  assert.deepEqual([method, body, credentials], ["POST", { NotificationEvents: [EVENT] }, "omit"]);
  assert.equal(headers["X-Device-Id"], "phone");
  assert.equal(headers["Content-Type"], "application/json");
  assert.equal(headers.Authorization, `Basic ${Buffer.from("adä€:x").toString("base64")}`);
});

test("it is sent again until it is recorded, over whatever there is", async (t) => {
  const { connection, socket, gateway } = await live(t);
  gateway.answers.Notifications = [
    gateway.status(503),
    () => Promise.reject(TypeError("no network")),
    gateway.status(500),
    () => new Response(null, { status: 204 }),
  ];
  const report = connection.handled([EVENT]);
  await until(() => socket.sent.length === 1);
  socket.push({ type: "error", ref: socket.sent[0].ref, code: "unavailable", message: "the store is away" });
  await until(() => socket.sent.length === 2);
  assert.deepEqual(socket.sent[1].events, [EVENT]);
  socket.end(1011);
  await report;
  assert.equal(gateway.requests.filter(({ url }) => url.includes("Handled")).length, 4);
});

test("busy is no refusal: it is sent again after a second or more", async (t) => {
  const { connection, socket } = await live(t);
  const report = connection.handled([EVENT]);
  await until(() => socket.sent.length === 1);
  socket.push({ type: "error", ref: socket.sent[0].ref, code: "busy", message: "wait" });
  await settled();
  assert.equal(socket.sent.length, 1);
  connection.wake();
  await settled();
  assert.deepEqual(
    socket.sent.map(({ type }) => type),
    ["handled", "ping"],
  );
  connection.close();
  await assert.rejects(report, /closed/);
});

test("what is refused rejects, and is not sent again", async (t) => {
  const { connection, socket } = await live(t);
  for (const code of ["bad_events", "forbidden", "unknown_type"]) {
    const report = connection.handled([EVENT]);
    const before = socket.sent.length;
    await until(() => socket.sent.length > before || socket.sent.at(-1)?.type === "handled");
    await settled();
    socket.push({ type: "error", ref: socket.sent.at(-1).ref, code, message: "no" });
    await assert.rejects(report, { message: "no", code });
  }
  assert.equal(socket.sent.length, 3);
  for (const status of [400, 401, 403, 413, 415]) {
    const gateway = new Gateway();
    gateway.answers.Notifications = [gateway.status(status)];
    const { connection } = opened(t, { transport: "sse", gateway });
    await assert.rejects(connection.handled([EVENT]), { message: `it is ${status} (${status})`, code: status });
  }
});

test("a batch has at most 1000 events; an empty one is nothing to report", async (t) => {
  const { connection, socket } = await live(t);
  const many = (count) => Array.from({ length: count }, (_, Id) => ({ Type: "AppointmentInvitation", Id }));
  await assert.rejects(connection.handled(many(1001)), { code: "bad_events" });
  await connection.handled([]);
  const report = connection.handled(many(1000));
  await until(() => socket.sent.length);
  assert.ok(JSON.stringify(socket.sent[0]).length < 65536);
  recorded(socket);
  await report;
});

test("a batch that would not fit into a frame is a POST", async (t) => {
  const { connection, socket, gateway } = await live(t);
  await connection.handled([{ Type: "x".repeat(60_000), Id: 1 }]);
  assert.equal(socket.sent.length, 0);
  assert.equal(gateway.requests.at(-1).body.NotificationEvents.length, 1);
});

test("at most 16 frames are unanswered, the others wait their turn", async (t) => {
  const { connection, socket } = await live(t);
  const reports = Array.from({ length: 20 }, (_, Id) => connection.handled([{ ...EVENT, Id }]));
  await until(() => socket.sent.length === 16);
  await settled();
  assert.equal(socket.sent.length, 16);
  for (let n = 0; n < 20; n++) {
    await until(() => socket.sent.length > n);
    recorded(socket, n);
  }
  await Promise.all(reports);
  assert.deepEqual(
    socket.sent.map(({ events }) => events[0].Id),
    Array.from({ length: 20 }, (_, n) => n),
  );
  assert.equal(new Set(socket.sent.map(({ ref }) => ref)).size, 20);
});

test("check asks over the websocket, else it reads all once and looks there", async (t) => {
  const { connection, socket } = await live(t);
  const answer = connection.check([EVENT, { Type: "NewTicket", Id: 13 }]);
  await until(() => socket.sent.length);
  assert.deepEqual(socket.sent[0].events, [EVENT, { Type: "NewTicket", Id: 13 }]);
  socket.push({ type: "checked", ref: socket.sent[0].ref, events: [{ ...EVENT, At: 5 }] });
  assert.deepEqual(await answer, [{ ...EVENT, At: 5 }]);

  const gateway = new Gateway();
  const events = [
    { ...EVENT, At: 5 },
    { Type: "NewTicket", Id: 14, At: 6 },
  ];
  gateway.answers["cursor=0"] = [() => Response.json({ cursor: "s-6", reset: true, events })];
  const stream = opened(t, { transport: "sse", gateway });
  assert.deepEqual(await stream.connection.check([EVENT, { Type: "NewTicket", Id: 13 }]), [{ ...EVENT, At: 5 }]);
  assert.equal(stream.connection.cursor, undefined);

  const refused = connection.check([EVENT]);
  await until(() => socket.sent.length === 2);
  socket.push({ type: "error", ref: socket.sent[1].ref, code: "busy", message: "wait" });
  await assert.rejects(refused, { code: "busy" });
});

test("a notification that comes after its clear is not shown, a later one is", async (t) => {
  const { connection, socket } = await live(t, { onClear: () => new Promise(() => {}) });
  socket.push(clear(100, 1, { Type: "NewTicket", Id: 2, At: 50 }));
  const asked = (Id, time, Type = "NewTicket") => connection.shouldDismiss({ Type, Id, time });
  assert.deepEqual(
    [asked(1, 100), asked(1, 99), asked(2, 50), asked(3, 1), asked(1, 1, "TicketEscalated")],
    [true, true, true, false, false],
  );
  assert.equal(asked(1, new Date(100)), true);
  assert.equal(asked(2, 51), false, "its own time counts, not that of the clear");
  assert.equal(asked(2, 50), false, "a later one takes the tombstone away");
  socket.push(clear(90, 1));
  assert.equal(asked(1, 100), true, "the latest counts, in whatever order they come");
  socket.push(clear(120, 1));
  assert.equal(asked(1, 120), true);
  assert.equal(connection.shouldDismiss({ Type: "NewTicket", Id: 1 }), false, "without a time it is new now");
});

test("what this device handled counts too, from when it was said, as far as the server's clock is known", async (t) => {
  const { connection, socket } = await live(t, { welcome: { now: Date.now() + 3_600_000 } });
  const [before, after] = [connection.now(), connection.now() + 60_000];
  const report = connection.handled([EVENT]);
  await until(() => socket.sent.length);
  assert.equal(connection.shouldDismiss({ ...EVENT, time: before }), false, "it is not recorded");
  recorded(socket);
  await report;
  assert.equal(connection.shouldDismiss({ ...EVENT, time: before }), true);
  assert.equal(connection.shouldDismiss({ ...EVENT, time: after }), false);

  const { connection: early } = opened(t, { transport: "sse" });
  await early.handled([EVENT]);
  assert.equal(early.shouldDismiss({ ...EVENT, time: before - 7_200_000 }), false);
});

test("tombstones are bounded in number and age", async (t) => {
  const { connection, socket } = await live(t, { timing: { tombstones: 3, tombstoneMs: 1000 } });
  socket.push(clear(10, 1, 2, 3));
  socket.push(clear(11, 1, 4));
  const known = () => [1, 2, 3, 4].filter((Id) => connection.shouldDismiss({ Type: "NewTicket", Id, time: 1 }));
  assert.deepEqual(known(), [1, 3, 4], "the oldest goes, and what came again is not old");
  const now = Date.now();
  t.mock.method(Date, "now", () => now + 2000);
  assert.deepEqual(known(), []);
});

test("the clock is the server's", async (t) => {
  const there = Date.now() + 3_600_000;
  const { connection, socket } = await live(t, { welcome: { now: there } });
  assert.ok(Math.abs(connection.now() - there) < 5000);
  socket.push(clear(there + 60_000, 1));
  assert.equal(connection.shouldDismiss({ Type: "NewTicket", Id: 1 }), true);
});
