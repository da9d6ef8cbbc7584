// Signing in: by password, or by a code that is sent by mail.
import { get, post } from "../api.js";
import { h, button, notice } from "../dom.js";
import { form } from "../dialogs.js";

// Only a path of this site: a link must not lead a signed-in person elsewhere.
export function destination() {
  const next = new URLSearchParams(location.search).get("next") ?? "/";
  return /^\/(?![/\\])/.test(next) ? next : "/";
}

const enter = () => location.assign(destination());

function byPassword() {
  return form(
    [
      { name: "username", label: "Email", type: "email", autocomplete: "username" },
      { name: "password", label: "Password", type: "password", autocomplete: "current-password" },
    ],
    "Sign in",
    async (entered) => {
      await post("/auth/login", new URLSearchParams(entered));
      enter();
    },
  );
}

function byCode(place) {
  return form([{ name: "email", label: "Email", type: "email", autocomplete: "username" }], "Send code", async ({ email }) => {
    await post("/auth/validate-email", { email });
    notice("A code is on its way to you.");
    const code = form(
      [
        {
          name: "verification_code",
          label: "Verification code",
          help: `The eight characters in the mail to ${email}. They are good for a few minutes, once.`,
          class: "code-input",
          maxlength: 8,
          autocomplete: "one-time-code",
          autocapitalize: "characters",
          spellcheck: "false",
        },
      ],
      "Sign in",
      async ({ verification_code }) => {
        await post("/auth/sign-in", { username: email, verification_code: verification_code.trim() });
        enter();
      },
    );
    place.replaceChildren(code);
    code.elements.verification_code.focus();
  });
}

export default async function page(content) {
  const settings = await get("/config");
  const place = h("div", {}, byPassword());
  const ways = [];
  if (settings.PASSWORDLESS_SIGN_IN) {
    const change = button("Sign in with a code by email instead", () => {
      const toCode = change.dataset.way !== "code";
      change.dataset.way = toCode ? "code" : "";
      change.textContent = toCode ? "Sign in with a password instead" : "Sign in with a code by email instead";
      place.replaceChildren(toCode ? byCode(place) : byPassword());
    }, "link");
    ways.push(h("p", {}, change));
  }
  content.replaceChildren(h("div", { class: "card" }, place, ways), h("p", {}, "No account yet? ", h("a", { href: "/auth/register" }, "Register")));
}
