/** The page: who is signed in, and which of the two views is shown. */

import { h, set } from "./dom.js";
import { current, onEnded, signOut } from "./session.js";
import { signInView } from "./signin.js";
import { TryIt } from "./tryit.js";
import { Watch } from "./watch.js";

const VIEWS = { try: "Try it", watch: "Watch it" };
const top = document.getElementById("top");
const content = document.getElementById("content");

class Console {
  constructor(about) {
    this.about = about;
    this.views = null;
    addEventListener("hashchange", () => this.views && this.#show({ focus: true }));
    onEnded(() => this.views && this.#leave("Your session has ended."));
    const session = current();
    if (session) this.#enter(session);
    else this.#ask();
  }

  #ask(why) {
    const view = signInView({
      dev: this.about.dev,
      why,
      onSignedIn: (session) => this.#enter(session, { focus: true }),
    });
    document.title = "Sign in · clearsync";
    content.replaceChildren(view.element);
    view.focus();
  }

  #enter(session, { focus = false } = {}) {
    const shown = () => !document.hidden && this.#name() === "watch";
    this.views = { try: new TryIt(session), watch: new Watch({ ...this.about, shown }) };
    this.links = Object.entries(VIEWS).map(([name, title]) => h("a", { href: `#${name}` }, title));
    this.bar = [
      h("nav", { "aria-label": "Views" }, ...this.links),
      h(
        "div.user",
        {},
        h("span", {}, session.user),
        h("button.quiet", { type: "button", onclick: () => this.#signOut() }, "Sign out"),
      ),
    ];
    top.append(...this.bar);
    this.#show({ focus });
  }

  #name() {
    const name = location.hash.slice(1);
    return Object.hasOwn(VIEWS, name) ? name : "try";
  }

  #show({ focus }) {
    const name = this.#name();
    const view = this.views[name];
    for (const link of this.links) set(link, { "aria-current": link.hash === `#${name}` ? "page" : false });
    document.title = `${VIEWS[name]} · clearsync`;
    content.replaceChildren(view.element);
    this.views.watch.look();
    if (focus) view.title.focus({ preventScroll: true });
  }

  async #signOut() {
    this.#close();
    await signOut();
    this.#ask();
  }

  #leave(why) {
    this.#close();
    this.#ask(why);
  }

  #close() {
    this.views.try.close();
    this.views.watch.close();
    this.views = null;
    for (const part of this.bar) part.remove();
  }
}

try {
  new Console(await fetch("about.json").then((answer) => answer.json()));
} catch (problem) {
  content.replaceChildren(
    h("p.problem", { role: "alert" }, `The page could not start: ${problem.message}. Load it again.`),
  );
}
