// Calls the vendor's client as a CRM front end does, with Basic credentials:
//
//   VENDOR_PASSWORD=... node handled.cjs URL USER '[["NewTicket", 12]]' [DEVICE]
//
// The password comes by environment, because arguments are seen by every user of a machine. Exit 0 once the server has
// answered 2xx, else 1 with the error.

// CommonJS: the package's ES modules import each other without file extensions, which Node refuses.
const { NotificationEventType, PocketAgent } = require("@superoffice/webapi");

async function main([url, user, pairs, device]) {
  const headers = device ? { "X-Device-Id": device } : {};
  const agent = new PocketAgent(url, {
    auth: { username: user, password: process.env.VENDOR_PASSWORD },
    headers,
    timeout: 10_000,
    // The vendor's client honours proxies of the environment; the server under test is on this machine.
    proxy: false,
  });
  const events = JSON.parse(pairs).map(([type, id]) => {
    if (!(type in NotificationEventType)) throw new Error(`${type} is no type of the vendor's client`);
    return { type: NotificationEventType[type], id };
  });
  await agent.notificationsHandledAsync(events);
}

main(process.argv.slice(2)).catch((error) => {
  const answer = error.response;
  console.error(answer ? `${answer.status} ${JSON.stringify(answer.data)}` : error.stack);
  process.exitCode = 1;
});
