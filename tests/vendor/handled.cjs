// Calls the vendor's client as a CRM front end does:
//
//   VENDOR_CREDENTIALS='{"ticket": "..."}' node handled.cjs URL EVENTS [DEVICE]
//
// EVENTS is '[["NewTicket", 12], ...]', or '["NewTicket", 12]' for the call that takes one event alone. The credentials
// are {"user", "password"}, {"ticket"} or {"token"}, and "appToken" beside them; they come by environment, because
// arguments are seen by every user of a machine. Exit 0 once the server has answered 2xx, else 1 with the error.

// CommonJS: the package's ES modules import each other without file extensions, which Node refuses.
const { NotificationEventType, WebApi } = require("@superoffice/webapi");

function signIn(api, { user, password, ticket, token, appToken }) {
  if (ticket !== undefined) api.authenticateWithTicket(ticket);
  else if (token !== undefined) api.authenticateWithToken(token);
  else api.authenticateWithPassword(user, password);
  if (appToken !== undefined) api.applicationToken(appToken);
}

function numbered(type) {
  if (!(type in NotificationEventType)) throw new Error(`${type} is no type of the vendor's client`);
  return NotificationEventType[type];
}

async function main([url, events, device]) {
  const api = new WebApi(url, {
    headers: device ? { "X-Device-Id": device } : {},
    timeout: 10_000,
    // The vendor's client honours proxies of the environment; the server under test is on this machine.
    proxy: false,
  });
  signIn(api, JSON.parse(process.env.VENDOR_CREDENTIALS));
  const agent = api.getPocketAgent();
  const given = JSON.parse(events);
  if (typeof given[0] === "string") await agent.notificationHandledAsync(numbered(given[0]), given[1]);
  else await agent.notificationsHandledAsync(given.map(([type, id]) => ({ type: numbered(type), id })));
}

main(process.argv.slice(2)).catch((error) => {
  const answer = error.response;
  console.error(answer ? `${answer.status} ${JSON.stringify(answer.data)}` : error.stack);
  process.exitCode = 1;
});
