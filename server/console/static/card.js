/** One notification on a panel, and what is left of it for a moment when it has vanished. */

import { h, say, still } from "./dom.js";
import { icon } from "./icons.js";
import { KINDS, spoken } from "./kinds.js";
import { ago, clock } from "./times.js";

const TRACE_MS = 7000;
const MOVE = { duration: 260, easing: "cubic-bezier(.2, .7, .2, 1)" };

/** The list item of a notification. */
export function card(notification, { device, now, onDismiss }) {
  const kind = KINDS[notification.Type];
  const button = h(
    "button.quiet.done",
    { type: "button", "aria-label": `Dismiss ${spoken(notification)}, on ${device}`, onclick: onDismiss },
    icon("check"),
    h("span", {}, "Dismiss"),
  );
  const item = h(
    "li.card",
    { "data-pair": `${notification.Type}:${notification.Id}` },
    h("span.kind", {}, icon(kind.icon)),
    h(
      "div.what",
      {},
      h("p.title", {}, kind.title),
      h("p.text", {}, notification.text),
      h(
        "p.meta",
        {},
        `${kind.noun} ${notification.Id} · `,
        h("time", { "data-at": notification.time }, ago(now - notification.time)),
      ),
    ),
    button,
  );
  if (notification.outlived) outlive(item, notification);
  return item;
}

/** Bring up to date how long ago it came. */
export function tick(item, now) {
  const time = item.querySelector("time");
  say(time, ago(now - time.dataset.at));
}

/** Say on the card that an older clear of its pair has come and did not concern it. */
export function outlive(item, notification) {
  item.querySelector(".outlived")?.remove();
  const text = `Newer than what was handled at ${clock(notification.outlived)}, so it stays`;
  item.querySelector(".what").append(h("p.outlived", {}, text));
}

/** A card comes in. */
export function enter(item) {
  if (!still())
    item.animate(
      [
        { opacity: 0, transform: "translateY(-8px)" },
        { opacity: 1, transform: "none" },
      ],
      MOVE,
    );
}

/** A card goes, nothing stays. */
export function leave(item) {
  item.inert = true;
  item.classList.replace("card", "leaving");
  shrink(item, 0, () => item.remove());
}

/**
 * A card vanishes because of another device: a line with `text` takes its place, and goes after some seconds. Returns
 * what sets another text.
 */
export function vanish(item, text) {
  const line = h("span", {}, text);
  const height = item.offsetHeight;
  item.className = "trace";
  delete item.dataset.pair;
  item.replaceChildren(icon("check"), line);
  if (!still()) {
    const now = item.offsetHeight;
    item.animate([{ height: `${height}px` }, { height: `${now}px` }], MOVE);
    item.firstChild.animate([{ transform: "scale(.4)" }, { transform: "scale(1)" }], MOVE);
  }
  setTimeout(() => leave(item), TRACE_MS);
  return (better) => line.replaceChildren(better);
}

function shrink(item, to, then) {
  if (still() || !item.isConnected) return then();
  const from = { height: `${item.offsetHeight}px`, opacity: 1, marginBlockEnd: "0px" };
  const gap = Number.parseFloat(getComputedStyle(item.parentElement).rowGap) || 0;
  const end = { height: `${to}px`, opacity: 0, marginBlockEnd: `${-gap}px` };
  item.style.overflow = "hidden";
  item.animate([from, end], { ...MOVE, fill: "forwards" }).finished.then(then, then);
}
