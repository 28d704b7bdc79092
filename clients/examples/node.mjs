// A device in Node.js: prints what is handled elsewhere, and reports what the command line names.
//
//   node clients/examples/node.mjs http://127.0.0.1:8080 ada            listen
//   node clients/examples/node.mjs http://127.0.0.1:8080 ada NewTicket:12   report, and end
//
// The password is taken from CLEARSYNC_PASSWORD; with `make serve` any will do.

import { hostname } from "node:os";
import { connect } from "../js/clearsync.js";

const [url = "http://127.0.0.1:8080", user = "ada", ...pairs] = process.argv.slice(2);
const connection = connect({
  url,
  device: `node-${hostname()
    .replace(/[^\w.-]/g, "")
    .slice(0, 40)}-${process.pid}`,
  credentials: { user, password: process.env.CLEARSYNC_PASSWORD ?? "dev" },
  onClear({ events }) {
    for (const { Type, Id, At } of events) console.log(`dismiss ${Type}:${Id}, handled ${new Date(At).toISOString()}`);
  },
  onReset: () => console.log("fetch the list anew"),
  onState: (state, { reason, transport } = {}) => console.error(state, reason ?? transport ?? ""),
});

if (pairs.length) {
  const events = pairs.map((pair) => pair.split(":")).map(([Type, Id]) => ({ Type, Id: Number(Id) }));
  await connection.handled(events).finally(() => connection.close());
  console.log("recorded");
}
