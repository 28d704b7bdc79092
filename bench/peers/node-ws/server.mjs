// node and ws, one process: a POST is sent to the sockets of its agent, which a map in memory knows.

import { createServer } from "node:http";
import { WebSocketServer } from "ws";

const socketsOf = new Map();

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
    const frame = Buffer.from(JSON.stringify({ type: "clear", events: body.NotificationEvents }));
    for (const socket of socketsOf.get(agent) ?? []) {
      socket.send(frame, { binary: false });
    }
    response.writeHead(204).end();
  });
});
server.keepAliveTimeout = 75_000; // longer than a proxy keeps its connections

// ws need not keep a set of all clients when there is a map of our own
const gateway = new WebSocketServer({ server, clientTracking: false, perMessageDeflate: false });
gateway.on("connection", (socket, request) => {
  const agent = /^\/agents\/(\w+)\/sync$/.exec(request.url)?.[1];
  if (!agent) {
    socket.close(4004);
    return;
  }
  const sockets = socketsOf.get(agent) ?? new Set();
  socketsOf.set(agent, sockets.add(socket));
  socket.on("close", () => {
    sockets.delete(socket);
    if (sockets.size === 0 && socketsOf.get(agent) === sockets) {
      socketsOf.delete(agent);
    }
  });
  socket.on("error", () => socket.terminate());
});

server.listen({ host: "127.0.0.1", port: Number(process.env.PORT), backlog: 4096 });
