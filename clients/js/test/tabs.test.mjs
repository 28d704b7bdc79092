/** Which device a tab is, and where its cursor is kept. */

import assert from "node:assert/strict";
import test from "node:test";
import { browser, clear, fakeLocks, fakeStorage, live, opened, until } from "./fakes.mjs";

/** A page in its own tab: storage of the tab and of all tabs, and locks. */
function page(t, { session = fakeStorage(), local = fakeStorage(), locks = fakeLocks() } = {}) {
  const document = Object.assign(new EventTarget(), { location: { origin: "https://crm.test" }, cookie: "" });
  browser(t, { document, sessionStorage: session, localStorage: local, navigator: { locks } });
  return { session, local, locks };
}

const tab = async (t, options) => {
  const all = await live(t, { device: undefined, agent: "ada", ...options });
  all.socket.push(clear(5));
  await until(() => all.connection.cursor === "s-5");
  return all;
};

test("a tab is a device of its own, also after a reload, and goes on from its cursor", async (t) => {
  const { session, local, locks } = page(t);
  const { connection } = await tab(t);
  assert.match(connection.device, /^js-[a-z0-9]{6,}$/);
  assert.equal(local.map.size, 0);
  assert.equal(locks.held.size, 1);
  connection.close();
  await until(() => !locks.held.size);

  page(t, { session, locks });
  const { connection: reloaded, socket } = await live(t, { device: undefined, agent: "ada" });
  assert.equal(reloaded.device, connection.device);
  assert.match(socket.url, new RegExp(`device=${connection.device}&cursor=s-5&`));

  page(t);
  const { connection: other, socket: fresh } = await live(t, { device: undefined, agent: "ada" });
  assert.notEqual(other.device, connection.device);
  assert.match(fresh.url, /&cursor=&/);
});

test("a reload that meets the lock of its former self waits for it", async (t) => {
  const { session, locks } = page(t);
  const { connection } = await tab(t);
  page(t, { session, locks });
  const { connection: reloaded, gateway } = opened(t, { device: undefined, agent: "ada", timing: { tabMs: 300 } });
  await new Promise((go) => setTimeout(go, 10));
  connection.close();
  await gateway.link(0);
  assert.equal(reloaded.device, connection.device);
});

test("a duplicated tab takes a new device, and goes on from the cursor of the first", async (t) => {
  const { session, locks } = page(t);
  const { connection } = await tab(t);
  const copy = fakeStorage(Object.fromEntries(session.map));
  page(t, { session: copy, locks });
  const { connection: second, socket } = await live(t, { device: undefined, agent: "ada" });
  assert.notEqual(second.device, connection.device);
  assert.match(socket.url, new RegExp(`device=${second.device}&cursor=s-5&`));
  assert.equal(locks.held.size, 2);
  second.close();
  await until(() => locks.held.size === 1);

  page(t, { session: copy, locks });
  const { connection: reloaded } = await live(t, { device: undefined, agent: "ada" });
  assert.equal(reloaded.device, second.device);
});

test("without locks a tab can't tell, and is a new device each time", async (t) => {
  const { session } = page(t, { locks: null });
  const { connection } = await tab(t);
  connection.close();
  page(t, { session, locks: null });
  const { connection: reloaded, socket } = await live(t, { device: undefined, agent: "ada" });
  assert.notEqual(reloaded.device, connection.device);
  assert.match(socket.url, /cursor=s-5&/);
});

test("a device that the app names keeps its cursor in localStorage, for each server, agent and device", async (t) => {
  const { session, local } = page(t);
  const { connection } = await tab(t, { device: "desk" });
  assert.deepEqual([...local.map], [["clearsync https://sync.test/base ada desk", "s-5"]]);
  assert.equal(session.map.size, 0);
  connection.close();
  const starts = async (options) => (await live(t, { device: "desk", agent: "ada", ...options })).socket.url;
  assert.match(await starts(), /cursor=s-5&/);
  for (const other of [{ agent: "bob" }, { device: "lap" }, { url: "https://other.test" }])
    assert.match(await starts(other), /cursor=&/, JSON.stringify(other));
});

test("without a name of the agent no cursor is kept", async (t) => {
  const { session, local } = page(t);
  await tab(t, { device: "desk", agent: undefined, credentials: { cookie: true } });
  assert.deepEqual([session.map.size, local.map.size], [0, 0]);
});

test("storage that is switched off, or full, is done without", async (t) => {
  page(t);
  Object.defineProperty(globalThis, "localStorage", {
    configurable: true,
    get() {
      throw new DOMException("not here", "SecurityError");
    },
  });
  await tab(t, { device: "desk" });
  const full = fakeStorage();
  full.setItem = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  page(t, { session: full });
  const { connection } = await tab(t);
  assert.match(connection.device, /^js-/);
});

test("a tab that was stopped leaves its device to who comes next", async (t) => {
  const { session, locks } = page(t);
  const first = await tab(t);
  first.socket.end(4003);
  await until(() => first.connection.state === "stopped");
  await until(() => !locks.held.size);
  page(t, { session, locks });
  const { connection } = await live(t, { device: undefined, agent: "ada" });
  assert.equal(connection.device, first.connection.device);
});
