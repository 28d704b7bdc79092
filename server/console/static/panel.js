/** A device as a panel of the page: its switch, its notifications, and what happened on it last. */

import { announce } from "./announce.js";
import { card, enter, leave, outlive, tick, vanish } from "./card.js";
import { h, nextId, say, set } from "./dom.js";
import { icon } from "./icons.js";
import { spoken } from "./kinds.js";
import { clock, duration, several } from "./times.js";

const STATES = { connecting: "connecting", live: "live", offline: "offline", stopped: "stopped", waiting: "waiting" };

export class Panel {
  /** `onMeasured(ms)` is told each time from tap to gone. */
  constructor(device, { onRemove, onMeasured }) {
    this.device = device;
    this.onMeasured = onMeasured;
    this.cards = new Map();
    this.#build(onRemove);
    for (const notification of device.list) this.#add(notification, "append");
    const listen = (what, react) => device.addEventListener(what, ({ detail }) => react(detail));
    listen("changed", () => this.#show());
    listen("arrived", (notification) => this.#arrived(notification));
    // after the frames that have come for other devices: all panels of the page share one thread
    listen("gone", (gone) => (gone.how === "here" ? this.#gone(gone) : setTimeout(() => this.#gone(gone))));
    listen("stayed", (notification) => this.#stayed(notification));
    listen("renewed", () => this.#renewed());
    listen("reported", () => this.#note("Dismissed here, told to the others"));
    this.#show();
  }

  /** Time has passed. */
  tick() {
    for (const item of this.cards.values()) tick(item, this.device.inbox.now());
  }

  /** Put the focus on its name. */
  focus() {
    this.title.focus();
  }

  #build(onRemove) {
    const { device } = this;
    const id = nextId("device");
    this.title = h("h2", { id, tabindex: -1 }, icon(device.kind), h("span", {}, device.name));
    this.state = h("span.state", {});
    this.toggle = h("button.switch", { type: "button", role: "switch", onclick: () => this.#flip() }, h("span"));
    set(this.toggle, { "aria-label": `${device.name} online` });
    const remove = h("button.bare", { type: "button", onclick: onRemove }, icon("cross"));
    set(remove, { "aria-label": `Remove ${device.name}` });
    this.list = h("ul", { "aria-label": `Notifications on ${device.name}` });
    this.empty = h("p.empty", {});
    this.foot = h("p.foot", {});
    this.element = h(
      "section.device",
      { "aria-labelledby": id, "data-kind": device.kind, "data-name": device.name },
      h("header", {}, this.title, this.state, this.toggle, remove),
      h("div.screen", {}, this.list, this.empty),
      this.foot,
    );
  }

  #flip() {
    const { device } = this;
    if (device.online) device.goOffline();
    else device.goOnline();
    announce(`${device.name} is ${device.online ? "online" : "offline"}`);
  }

  #show() {
    const { device } = this;
    set(this.element, { "data-state": device.state });
    set(this.toggle, { "aria-checked": String(device.online) });
    say(this.state, STATES[device.state] ?? device.state);
    const nothing = device.list.length === 0;
    this.empty.hidden = !nothing;
    say(this.empty, nothing && device.state !== "connecting" ? "Nothing left to do" : "…");
    say(this.foot, this.#trouble() ?? this.last ?? "Nothing happened yet");
  }

  #trouble() {
    const { state, detail, outbox } = this.device;
    if (detail.refused) return `The server refused it: ${detail.refused}`;
    if (state === "offline") {
      return outbox.length ? `Offline, ${several(outbox.length, "dismissal")} to report` : "Offline: new ones still come by push, clears do not";
    }
    if (state === "waiting") {
      const soon = detail.inMs ? `, tries again in ${duration(detail.inMs)}` : "";
      return `No connection: ${detail.reason ?? "lost"}${soon}`;
    }
    return state === "stopped" ? `Stopped: ${detail.reason ?? detail.code}` : null;
  }

  #note(text) {
    this.last = text;
    this.#show();
  }

  #add(notification, where) {
    const { device } = this;
    const item = card(notification, {
      device: device.name,
      now: device.inbox.now(),
      onDismiss: () => device.dismiss(notification),
    });
    this.cards.set(notification.key, item);
    this.list[where](item);
    return item;
  }

  #arrived(notification) {
    enter(this.#add(notification, "prepend"));
    this.#show();
  }

  #gone({ notifications, how, at, by }) {
    for (const notification of notifications) {
      const item = this.cards.get(notification.key);
      this.cards.delete(notification.key);
      this.#keepFocus(item);
      if (how === "here") leave(item);
      else this.#vanished(item, notification, { how, at, by });
    }
    if (how === "here") this.#show();
  }

  #vanished(item, notification, { how, at, by }) {
    const then = how === "away" ? `Handled at ${clock(at)}, while away` : "Handled elsewhere";
    const better = vanish(item, then);
    const { name } = this.device;
    this.#note(how === "away" ? `Caught up with what was handled until ${clock(at)}` : then);
    by.then((tap) => {
      if (tap) {
        const since = tap.late ? `after the report of ${tap.device}` : `after the tap on ${tap.device}`;
        better(h("span", {}, h("strong", {}, duration(tap.ms)), ` ${since}`));
        this.#note(`Gone ${duration(tap.ms)} ${since}`);
        if (!tap.late) this.onMeasured(tap.ms);
      }
      announce(`${spoken(notification)} vanished from ${name}${tap ? ` after ${duration(tap.ms)}` : ""}`);
    });
  }

  #stayed(notification) {
    const item = this.cards.get(notification.key);
    if (item) outlive(item, notification);
    announce(`${spoken(notification)} on ${this.device.name} is newer than what was handled, and stays`);
  }

  #renewed() {
    this.list.replaceChildren();
    this.cards.clear();
    for (const notification of this.device.list) this.#add(notification, "append");
    this.#note("The server had lost its history: list fetched anew");
  }

  /** Where a card with the focus goes, the focus goes to the next one, or to the name of the panel. */
  #keepFocus(item) {
    if (!item?.contains(document.activeElement)) return;
    const cards = [...this.list.querySelectorAll(".card")];
    const at = cards.indexOf(item);
    const next = cards[at + 1] ?? cards[at - 1];
    if (next) next.querySelector("button").focus();
    else this.focus();
  }
}
