/** For a service worker, and for pages: closes the system notifications that a clear dismisses. */

/** The tag to show a notification with. A tag is also what makes the next one of the pair replace it.
 * @param {{Type: string, Id: number}} event */
export const tagOf = ({ Type, Id }) => `${Type}:${Id}`;

/** Closes notifications whose tag is `Type:Id` of an event of the clear, and whose time is not later than its `At`.
 *
 * Their time is `data.time` (ms, the server's clock) where they were shown with it, else `timestamp`. One that has
 * neither stays: better one too many than one too few.
 * @param {ServiceWorkerRegistration} registration
 * @param {{at?: number, events: {Type: string, Id: number, At?: number}[]}} clear as `onClear` gets it
 * @returns {Promise<number>} how many were closed */
export async function dismiss(registration, { at, events }) {
  const until = new Map();
  for (const event of events) {
    const tag = tagOf(event);
    until.set(tag, Math.max(event.At ?? at, until.get(tag) ?? -Infinity));
  }
  const shown = await registration.getNotifications();
  const handled = shown.filter(({ tag, data, timestamp }) => (data?.time ?? timestamp) <= until.get(tag));
  for (const notification of handled) notification.close();
  return handled.length;
}
