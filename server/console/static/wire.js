/** The drawer with the frames as they went over the wire, of all devices. */

import { h, nextId, say, set } from "./dom.js";
import { icon } from "./icons.js";

const KEPT = 200;

export class Wire {
  constructor() {
    this.count = 0;
    this.latest = h("span.latest", {}, "Nothing yet");
    this.total = h("span.count", {}, "0");
    this.rows = h("ol", {});
    this.filter = h("select", { onchange: () => this.#sieve() }, h("option", { value: "" }, "all devices"));
    const id = nextId("wire");
    this.button = h(
      "button.bar",
      { type: "button", "aria-expanded": "false", "aria-controls": id, onclick: () => this.#toggle() },
      icon("chevron"),
      h("span.name", {}, "Wire frames"),
      this.total,
      this.latest,
    );
    this.body = h(
      "div.frames",
      { id, hidden: true },
      h(
        "p.tools",
        {},
        h("label", {}, "Frames of ", this.filter),
        h("button.quiet", { type: "button", onclick: () => this.#clear() }, "Clear"),
      ),
      h("div.scroll", { tabindex: 0, role: "region", "aria-label": "Frames, the newest last" }, this.rows),
    );
    this.scroll = this.body.lastChild;
    this.element = h(
      "section.wire",
      { "aria-label": "Wire frames" },
      h("h2.unseen", {}, "Wire frames"),
      this.button,
      this.body,
    );
  }

  /** A frame of `device`; `direction` is "in" or "out". */
  frame(device, direction, text) {
    const way = direction === "in" ? "to the device" : "from the device";
    const row = h(
      "li",
      { "data-device": device.name, "data-direction": direction, hidden: !this.#shown(device.name) },
      h("time", {}, new Date().toISOString().slice(11, 23)),
      h("span.who", {}, device.name),
      h("span.way", {}, icon(direction === "in" ? "down" : "up"), h("span.unseen", {}, way)),
      h("code", {}, text),
    );
    const low = this.scroll.scrollHeight - this.scroll.scrollTop - this.scroll.clientHeight < 24;
    this.rows.append(row);
    if (this.rows.childElementCount > KEPT) this.rows.firstChild.remove();
    if (low) this.scroll.scrollTop = this.scroll.scrollHeight;
    this.count += 1;
    say(this.total, String(this.count));
    say(this.latest, `${device.name} ${direction === "in" ? "↓" : "↑"} ${text}`);
  }

  /** The devices that can be asked for. */
  devices(names) {
    const now = this.filter.value;
    this.filter.replaceChildren(
      h("option", { value: "" }, "all devices"),
      ...names.map((name) => h("option", {}, name)),
    );
    this.filter.value = names.includes(now) ? now : "";
    this.#sieve();
  }

  #toggle() {
    this.body.hidden = !this.body.hidden;
    set(this.button, { "aria-expanded": String(!this.body.hidden) });
    this.scroll.scrollTop = this.scroll.scrollHeight;
  }

  #shown(name) {
    return !this.filter.value || this.filter.value === name;
  }

  #sieve() {
    for (const row of this.rows.children) row.hidden = !this.#shown(row.dataset.device);
  }

  #clear() {
    this.rows.replaceChildren();
    this.count = 0;
    say(this.total, "0");
    say(this.latest, "Nothing yet");
  }
}
