/** The drawings, one path each, on a field of 24 by 24. They say nothing that words beside them don't. */

import { s } from "./dom.js";

const PATHS = {
  bell: "M6 16v-5a6 6 0 1 1 12 0v5l1.5 2h-15L6 16Zm4 4.5h4",
  calendar: "M5 6h14v13H5zM5 10.5h14M9 3.5V7m6-3.5V7",
  check: "m5 12.5 4.5 4.5L19 7.5",
  cross: "m7 7 10 10M17 7 7 17",
  desk: "M3.5 5h17v11h-17zM9 20h6m-3-4v4",
  down: "M12 5v13m-5-5 5 5 5-5",
  up: "M12 19V6m-5 5 5-5 5 5",
  message: "M4.5 5.5h15v10.5h-8l-4 3.5v-3.5h-3z",
  phone: "M7.5 3.5h9v17h-9zM11 17.5h2",
  plus: "M12 5.5v13M5.5 12h13",
  quote: "M6.5 3.5h7.5l4 4v13h-11.5zM9.5 12h5.5m-5.5 4h5.5M14 3.5v4h4",
  tablet: "M5 3.5h14v17H5zM11 17.5h2",
  ticket: "M4 7h16v3a2 2 0 0 0 0 4v3H4v-3a2 2 0 0 0 0-4zM14.5 7v2m0 2v2m0 2v2",
  chevron: "m7 14 5-5 5 5",
};

/** A drawing by its name. */
export function icon(name) {
  return s("svg.icon", { viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: PATHS[name] }));
}
