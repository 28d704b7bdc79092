/** The driver of the JavaScript client, wherever it runs; see `clients/conformance.md`. */

/** Does commands with clients made by `connect`, which get `given` as options too, and tells all with `say`. */
export function driver(connect, given, say) {
  const cursors = new Map(); // of all clients: the store of an app is one
  const apps = new Map();

  function open(command) {
    const { client, url, agent, device, cursor, timing, transport } = command;
    const tell = (on, more) => say({ client, on, ...more });
    const app = { outcomes: [], credentials: command.credentials };
    /** The app is done with it: at once, or when the suite says so. */
    const applied = () =>
      command.hold &&
      new Promise((yes, no) => app.outcomes.push((ok) => (ok ? yes() : no(Error("the app failed")))));
    const ask = async () => {
      tell("asked");
      return app.credentials.length > 1 ? app.credentials.shift() : app.credentials[0];
    };
    const options = {
      ...given,
      url,
      agent,
      device,
      cursor,
      timing,
      credentials: Array.isArray(app.credentials) ? ask : app.credentials,
      cursorStore: {
        get: (key) => cursors.get(key),
        set(key, cursor) {
          cursors.set(key, cursor);
          tell("stored", { key, cursor });
        },
      },
      onClear(clear) {
        if (clear.events.length) tell("clear", clear);
        return clear.events.length ? applied() : undefined;
      },
      onReset() {
        tell("reset");
        return applied();
      },
      onState: (state, detail) => tell("state", { state, ...detail }),
    };
    if (transport) options.transport = transport;
    if ("random" in command) options.random = () => command.random;
    app.connection = connect(options);
    apps.set(client, app);
  }

  const commands = {
    applied: (app, { ok }) => void app.outcomes.shift()(ok),
    handled: (app, { events }) => app.connection.handled(events),
    check: (app, { events }) => app.connection.check(events),
    shouldDismiss: (app, { event, time }) => app.connection.shouldDismiss({ ...event, time }),
    now: (app) => app.connection.now(),
    wake: (app) => void app.connection.wake(),
    close: (app) => void app.connection.close(),
  };

  return async function act(command) {
    const { id, client } = command;
    try {
      if (command.do === "connect") open(command);
      say({ id, ok: command.do === "connect" ? null : await commands[command.do](apps.get(client), command) });
    } catch (e) {
      say({ id, error: { message: e.message, code: e.code } });
    }
  };
}
