/** Elements made by hand: no markup is ever parsed from text, so nothing that comes over the wire can be any. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * `h("button.primary", {onclick}, "Send")`. Functions are listeners, true and false set and leave out an attribute.
 */
export function h(what, attributes = {}, ...children) {
  return made(document.createElement(what.split(".")[0]), what, attributes, children);
}

/** The same for SVG. */
export function s(what, attributes = {}, ...children) {
  return made(document.createElementNS(SVG, what.split(".")[0]), what, attributes, children);
}

function made(element, what, attributes, children) {
  const classes = what.split(".").slice(1);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  set(element, attributes);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Set attributes as `h` does; what is unchanged is not touched. */
export function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (value === false || value === null || value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
  }
  return element;
}

/** Set the text, unless it is this already. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Whether the reader has asked for less motion. */
export function still() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

let ids = 0;

/** An id for an element that another one names. */
export function nextId(word) {
  ids += 1;
  return `${word}-${ids}`;
}
