/** The view in which one dismisses a notification on one device and sees it vanish from the others. */

import { announce } from "./announce.js";
import { Device } from "./device.js";
import { h, say, set } from "./dom.js";
import { icon } from "./icons.js";
import { Inbox } from "./inbox.js";
import { cursors, devices, keepDevices, tabName } from "./kept.js";
import { FIRST, KINDS, TICKET_ID } from "./kinds.js";
import { Panel } from "./panel.js";
import { duration } from "./times.js";
import { Wire } from "./wire.js";

const SORTS = ["phone", "tablet", "desk"];
const MOST = 6;
const TICK_MS = 15_000;

export class TryIt {
  constructor({ user }) {
    this.user = user;
    this.inbox = new Inbox(user);
    this.wire = new Wire();
    this.panels = [];
    this.times = [];
    this.seeded = false;
    this.#build();
    this.clock = setInterval(() => this.panels.forEach((panel) => panel.tick()), TICK_MS);
    this.#begin();
  }

  /** The end of all its devices. */
  close() {
    this.closed = true;
    clearInterval(this.clock);
    for (const { device } of this.panels) device.remove();
    this.inbox.close();
  }

  #build() {
    this.title = h("h1", { tabindex: -1 }, "Dismissed once, gone everywhere");
    this.value = h("p.value", {}, "–");
    this.caption = h("p.caption", {}, "from tap to gone");
    this.choice = h("select", { "aria-label": "Type of the notification" });
    this.choice.append(...Object.entries(KINDS).map(([type, { title }]) => h("option", { value: type }, title)));
    this.choice.value = "NewTicket";
    this.grid = h("div.devices", {});
    this.add = h("button.add", { type: "button", onclick: () => this.#addDevice() }, icon("plus"), "Add a device");
    this.element = h(
      "div.try",
      {},
      h(
        "div.intro",
        {},
        h(
          "div",
          {},
          this.title,
          h("p.lead", {}, `Each panel is a device of ${this.user} with a connection of its own. `, HINT),
        ),
        h("div.measure", { role: "group", "aria-label": "Measured" }, this.value, this.caption),
      ),
      h("div.tools", { role: "group", "aria-label": "Send notifications" }, ...this.#tools()),
      this.grid,
      this.wire.element,
    );
  }

  #tools() {
    const send = () => this.#send({ Type: this.choice.value, Id: 1000 + Math.floor(Math.random() * 9000) });
    const again = () => this.#send({ Type: "NewTicketMessage", Id: TICKET_ID });
    return [
      h(
        "span.together",
        {},
        this.choice,
        h("button.primary", { type: "button", onclick: send }, "Send to every device"),
      ),
      h("button.second", { type: "button", onclick: again }, `New message in ticket ${TICKET_ID}`),
      this.add,
    ];
  }

  async #begin() {
    this.tab = await tabName();
    if (this.closed) return;
    const kept = devices(this.user);
    this.seeded = kept !== null;
    for (const record of kept ?? SORTS.map((sort) => this.#record(sort, sort))) this.#put(record);
  }

  #record(name, kind) {
    return { id: `${name.replaceAll(" ", "-")}-${this.tab}`, name, kind, list: [...this.inbox.open].reverse() };
  }

  #put(record) {
    const onFrame = (device, direction, text) => this.wire.frame(device, direction, text);
    const device = new Device(record, { user: this.user, inbox: this.inbox, cursors, onFrame });
    const onMeasured = (ms) => this.#measured(ms);
    const panel = new Panel(device, { onMeasured, onRemove: () => this.#removeDevice(panel) });
    for (const what of ["changed", "arrived", "gone", "renewed"])
      device.addEventListener(what, () => this.#changed(device));
    this.panels.push(panel);
    this.grid.append(panel.element);
    this.#counted();
    return panel;
  }

  #changed(device) {
    if (device.state === "live" && !this.seeded) {
      this.seeded = true;
      for (const pair of [...FIRST].reverse()) this.inbox.send(pair, { everywhere: false });
    }
    keepDevices(
      this.user,
      this.panels.map((panel) => panel.device.record()),
    );
  }

  #send(pair) {
    const { Type, Id } = this.inbox.send(pair);
    announce(`Sent: ${KINDS[Type].title}, ${Id}`);
  }

  #addDevice() {
    const sort = SORTS.map((kind) => [this.panels.filter((one) => one.device.kind === kind).length, kind]);
    const [, kind] = sort.reduce((least, one) => (one[0] < least[0] ? one : least));
    const names = new Set(this.panels.map(({ device }) => device.name));
    let name = kind;
    for (let number = 2; names.has(name); number += 1) name = `${kind} ${number}`;
    this.#put(this.#record(name, kind)).focus();
    announce(`${name} added`);
  }

  #removeDevice(panel) {
    const at = this.panels.indexOf(panel);
    panel.device.remove();
    panel.element.remove();
    this.panels.splice(at, 1);
    this.#counted();
    keepDevices(
      this.user,
      this.panels.map((each) => each.device.record()),
    );
    const next = this.panels[Math.min(at, this.panels.length - 1)];
    if (next) next.focus();
    else this.add.focus();
    announce(`${panel.device.name} removed`);
  }

  #counted() {
    set(this.add, { disabled: this.panels.length >= MOST });
    this.wire.devices(this.panels.map(({ device }) => device.name));
  }

  #measured(ms) {
    this.times.push(ms);
    const sorted = [...this.times].sort((a, b) => a - b);
    const middle = sorted[Math.floor((sorted.length - 1) / 2)];
    say(this.value, duration(ms));
    const all = `median of ${sorted.length}: ${duration(middle)}`;
    say(this.caption, sorted.length > 1 ? `from tap to gone, ${all}` : "from tap to gone");
  }
}

const HINT =
  "Dismiss a notification on one and watch the others. Switch one off, and see it catch up on its return: " +
  "what was handled goes, a newer message in the same ticket stays.";
