/** What a tab remembers over a reload: its devices with their lists, and their cursors. */

const DEVICES = "clearsync.console.devices";
const CURSOR = "clearsync.console.cursor ";
const TAB = "clearsync.console.tab";
const RELOADED_MS = 500;

/** Where `clearsync.js` keeps cursors: with the lists. */
export const cursors = {
  get: (key) => sessionStorage.getItem(CURSOR + key),
  set: (key, cursor) => sessionStorage.setItem(CURSOR + key, cursor),
};

/**
 * The name of this tab, a part of its devices' ids. A tab that was duplicated has its sibling's memory; it takes
 * another name, and forgets, since two connections with one id would count as one device.
 */
export async function tabName() {
  const kept = sessionStorage.getItem(TAB);
  if (kept && (await held(kept))) return kept;
  for (const key of Object.keys(sessionStorage)) {
    if (key.startsWith("clearsync.console.")) sessionStorage.removeItem(key);
  }
  const name = [...crypto.getRandomValues(new Uint8Array(4))].map((byte) => byte.toString(36)).join("");
  sessionStorage.setItem(TAB, name);
  await held(name);
  return name;
}

/**
 * Whether this tab now has that name to itself, until it ends. What it was before a reload may take a moment to
 * end.
 */
function held(name) {
  return new Promise((resolve) => {
    const hold = () => {
      resolve(true);
      return new Promise(() => {});
    };
    const options = { signal: AbortSignal.timeout(RELOADED_MS) };
    navigator.locks.request(`clearsync.console.${name}`, options, hold).catch(() => resolve(false));
  });
}

/** The devices' records of this user, or null. */
export function devices(user) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(DEVICES));
    return kept?.user === user ? kept.devices : null;
  } catch {
    return null;
  }
}

/** Remember them. */
export function keepDevices(user, records) {
  sessionStorage.setItem(DEVICES, JSON.stringify({ user, devices: records }));
}
