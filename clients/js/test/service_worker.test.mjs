/** What a service worker closes. */

import assert from "node:assert/strict";
import test from "node:test";
import { dismiss, tagOf } from "../service-worker.js";

const shown = (tag, data, timestamp) => ({
  tag,
  data,
  timestamp,
  close() {
    this.closed = true;
  },
});

async function closed(clear, ...notifications) {
  const count = await dismiss({ getNotifications: async () => notifications }, clear);
  const found = notifications.map((notification) => !!notification.closed);
  assert.equal(count, found.filter(Boolean).length);
  return found;
}

test("a tag is the pair", () => assert.equal(tagOf({ Type: "NewTicket", Id: 12, At: 5 }), "NewTicket:12"));

test("what is not later than its clear is closed, by its own time", async () => {
  const clear = {
    at: 100,
    events: [
      { Type: "NewTicket", Id: 1, At: 50 },
      { Type: "NewTicket", Id: 2 },
    ],
  };
  assert.deepEqual(
    await closed(
      clear,
      shown("NewTicket:1", { time: 50 }),
      shown("NewTicket:1", { time: 51 }),
      shown("NewTicket:2", { time: 100 }, 500),
      shown("NewTicket:2", null, 100),
      shown("NewTicket:2", {}, 101),
      shown("NewTicket:2", null, undefined),
      shown("NewTicket:3", { time: 1 }),
      shown("", { time: 1 }),
    ),
    [true, false, true, true, false, false, false, false],
  );
});

test("of a pair that is there twice the later time counts, and a clear may be empty", async () => {
  const events = [
    { Type: "NewTicket", Id: 1, At: 50 },
    { Type: "NewTicket", Id: 1, At: 40 },
  ];
  assert.deepEqual(await closed({ events }, shown("NewTicket:1", { time: 50 })), [true]);
  assert.deepEqual(await closed({ at: 9, events: [] }, shown("NewTicket:1", { time: 1 })), [false]);
});
