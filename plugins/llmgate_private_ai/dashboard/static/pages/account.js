// The caller's own account: address, password, and the way out. Another password ends every session: this one begins anew.
import { post, put } from "../api.js";
import { h, button, card, notice, pairs, tools } from "../dom.js";
import { form } from "../dialogs.js";
import { ROLES, logOut } from "../shell.js";

export default async function page(content, me) {
  const current = { name: "current_password", label: "Current password", type: "password", autocomplete: "current-password" };
  const email = form([{ name: "email", label: "New email", type: "email", value: me.email, autocomplete: "email" }, current], "Change Email", async (entered) => {
    await put("/auth/me/update", entered);
    notice("The address is changed.");
  });
  const password = form(
    [current, { name: "new_password", label: "New password", type: "password", minlength: 8, autocomplete: "new-password", help: "At least 8 characters." }],
    "Change Password",
    async (entered) => {
      await put("/auth/me/update", entered);
      await post("/auth/login", new URLSearchParams({ username: me.email, password: entered.new_password }));
      password.reset();
      notice("The password is changed.");
    },
  );
  tools(button("Log out", logOut));
  const you = pairs({ Email: me.email, Team: me.team_name, Role: me.is_admin ? "Admin" : (ROLES[me.role] ?? me.role) });
  const tokens = h("p", {}, h("a", { href: "/auth/token" }, "API Tokens"), " let programs use this API in your name.");
  content.replaceChildren(
    h("div", { class: "cards" }, card("You", you), card("API Tokens", tokens), card("Email", email), card("Password", password)),
  );
}
