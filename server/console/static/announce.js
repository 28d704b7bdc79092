/** What a screen reader is told of, beside what has the focus. */

import { say } from "./dom.js";

const TOGETHER_MS = 250;

let waiting = [];

/** Say it soon; what comes at the same moment is said in one breath. */
export function announce(text) {
  waiting.push(text);
  if (waiting.length > 1) return;
  setTimeout(() => {
    say(document.getElementById("said"), [...new Set(waiting)].join(". "));
    waiting = [];
  }, TOGETHER_MS);
}
