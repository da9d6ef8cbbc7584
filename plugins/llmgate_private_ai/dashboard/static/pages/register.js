// A new account, which is signed in at once.
import { post } from "../api.js";
import { h } from "../dom.js";
import { form } from "../dialogs.js";

export default async function page(content) {
  const fields = [
    { name: "email", label: "Email", type: "email", autocomplete: "username" },
    { name: "password", label: "Password", type: "password", autocomplete: "new-password", minlength: 8, help: "At least 8 characters." },
  ];
  const register = form(fields, "Register", async ({ email, password }) => {
    await post("/auth/register", { email, password });
    await post("/auth/login", new URLSearchParams({ username: email, password }));
    location.assign("/");
  });
  content.replaceChildren(h("div", { class: "card" }, register), h("p", {}, h("a", { href: "/auth/login" }, "I have an account")));
}
