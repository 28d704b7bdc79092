/** The form that signs in. */

import { h, say } from "./dom.js";
import { Refused, signIn } from "./session.js";

/** `onSignedIn({user})` is called once; `why` says why one has to sign in again; `dev`: anybody may. */
export function signInView({ dev, why, onSignedIn }) {
  const name = { id: "user", name: "user", autocomplete: "username", autocapitalize: "off", required: true };
  const user = h("input", { ...name, value: dev ? "ada" : "" });
  const word = { id: "password", name: "password", type: "password", autocomplete: "current-password", required: true };
  const password = h("input", { ...word, value: dev ? "any" : "" });
  const button = h("button.primary", { type: "submit" }, "Sign in");
  const problem = h("p.problem", { role: "alert" }, why ?? "");
  const form = h(
    "form.sign",
    { onsubmit: (event) => submit(event) },
    h("h1", { tabindex: -1 }, "Sign in"),
    h("p.lead", {}, dev ? "This server runs for development: any user name goes, with any password." : LEAD),
    problem,
    h("label", { for: "user" }, "User name"),
    user,
    h("label", { for: "password" }, "Password"),
    password,
    button,
  );

  async function submit(event) {
    event.preventDefault();
    button.disabled = true;
    say(problem, "");
    try {
      onSignedIn(await signIn(user.value, password.value));
    } catch (refused) {
      say(problem, refused instanceof Refused ? refused.message : `The page failed: ${refused.message}`);
      button.disabled = false;
      password.value = "";
      password.focus();
    }
  }

  return { element: form, title: form.querySelector("h1"), focus: () => (dev ? button : user).focus() };
}

const LEAD = "As on a device: with the user name and password that clearsync knows you by.";
