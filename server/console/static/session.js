/**
 * Who is signed in. The page keeps the name and when the session ends, nothing that opens anything: the session
 * itself is in a cookie that no script can read.
 */

const BASE = new URL("..", document.baseURI);
const KEPT = "clearsync.console.session";
const ENDS = new EventTarget();
let mine = null;

/** Where the server is, its base path included, without a slash at the end. */
export const SERVER = BASE.href.replace(/\/$/, "");

/** A sign-in that was refused; `message` is for the person. */
export class Refused extends Error {}

/** `{user}` of the session of this browser, or null. What the server thinks of it shows with the first connection. */
export function current() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT));
    return kept && kept.ends > Date.now() && xsrf() ? as(kept.user) : null;
  } catch {
    return null;
  }
}

function as(user) {
  mine = user;
  return { user };
}

/** The token that every request by cookie carries. */
export function xsrf() {
  const found = document.cookie.split("; ").find((pair) => pair.startsWith("XSRF-TOKEN="));
  return found ? found.slice("XSRF-TOKEN=".length) : "";
}

/** Call the server as who is signed in. */
export function call(path, options = {}) {
  const headers = { Accept: "application/json", "X-XSRF-TOKEN": xsrf(), ...options.headers };
  return fetch(new URL(path, BASE), { ...options, headers, credentials: "same-origin", cache: "no-store" });
}

/**
 * Begin a session. The password is first shown without cookies: answered 401 to a request with cookies, a browser
 * would open a sign-in window of its own over the page's.
 */
export async function signIn(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  const headers = { Authorization: `Basic ${btoa(String.fromCharCode(...bytes))}`, Accept: "application/json" };
  await judged(new URL("api/v1/sync?device=console", BASE), { headers, credentials: "omit", cache: "no-store" });
  const begun = await judged(new URL("api/v1/session", BASE), { method: "POST", headers, credentials: "same-origin" });
  const { expires } = await begun.json();
  if (!xsrf()) throw new Refused("This browser keeps no session over plain HTTP: use HTTPS, or another browser.");
  localStorage.setItem(KEPT, JSON.stringify({ user, ends: Date.now() + expires * 1000 }));
  return as(user);
}

async function judged(url, request) {
  const answer = await fetch(url, request).catch(() => {
    throw new Refused("The server can’t be reached.");
  });
  if (answer.ok) return answer;
  const wait = Number(answer.headers.get("Retry-After")) || 0;
  const again = wait > 1 ? `Try again in ${wait} seconds.` : "Try again in a moment.";
  if (answer.status === 401) throw new Refused("User name or password is wrong.");
  if (answer.status === 403) throw new Refused(`You may not sign in here: ${await reason(answer)}.`);
  if (answer.status === 429) throw new Refused(`Too many attempts. ${again}`);
  if (answer.status === 503) throw new Refused(`The server can’t answer now. ${again}`);
  throw new Refused(`The server answered ${answer.status}: ${await reason(answer)}.`);
}

/** What the server says about a refusal. */
export async function reason(answer) {
  try {
    return (await answer.json()).ErrorMessage;
  } catch {
    return answer.statusText || "no reason given";
  }
}

/** End the session, here and on the server. */
export async function signOut() {
  localStorage.removeItem(KEPT);
  await call("api/v1/session", { method: "DELETE" }).catch(() => {});
}

/** The server has ended the session; `onEnded` is told once. */
export function ended() {
  if (localStorage.getItem(KEPT) === null) return;
  localStorage.removeItem(KEPT);
  ENDS.dispatchEvent(new Event("ended"));
}

/**
 * Call `listener` when the session has ended without `signOut`, or another tab has ended it or signed in as
 * another.
 */
export function onEnded(listener) {
  ENDS.addEventListener("ended", listener);
  addEventListener("storage", (event) => {
    if (event.key === KEPT && JSON.parse(event.newValue)?.user !== mine) listener();
  });
}
