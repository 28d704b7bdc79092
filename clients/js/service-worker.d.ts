import type { Clear, Event } from "./clearsync.js";

/** The tag to show a notification with: `Type:Id`. */
export function tagOf(event: Event): string;

/**
 * Closes the notifications whose tag is `Type:Id` of an event of the clear and whose time (`data.time`, else
 * `timestamp`) is not later than its `At`. Resolves with how many were closed.
 */
export function dismiss(
  registration: Pick<ServiceWorkerRegistration, "getNotifications">,
  clear: Pick<Clear, "events"> & Partial<Pick<Clear, "at">>,
): Promise<number>;
