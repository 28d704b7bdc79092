/** The JavaScript client in Node.js, over websockets or event streams: JSON lines on stdin and stdout. */

import { createInterface } from "node:readline";
import WebSocket from "ws";
import { connect } from "../../../clients/js/clearsync.js";
import { driver } from "./js_driver.mjs";

const [transport] = process.argv.slice(2);
const say = (said) => process.stdout.write(`${JSON.stringify(said)}\n`);
const act = driver(connect, { transport, ...(transport === "websocket" && { WebSocket }) }, say);
createInterface({ input: process.stdin })
  .on("line", (line) => act(JSON.parse(line)))
  .on("close", () => process.exit());
say({
  on: "ready",
  name: `node-${transport}`,
  transport,
  can: transport === "websocket" ? ["wake", "fallback"] : ["wake"],
});
