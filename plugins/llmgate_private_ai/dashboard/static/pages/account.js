// The caller's own account: address, password, and the way out.
import { post, put } from "../api.js";
import { h, button, card, notice, pairs } from "../dom.js";
import { form } from "../dialogs.js";
import { ROLES } from "../shell.js";

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
      password.reset();
      notice("The password is changed.");
    },
  );
  const leave = button("Log out", async () => {
    await post("/auth/logout");
    location.assign("/auth/login");
  });
  content.replaceChildren(
    card("You", pairs({ Email: me.email, Team: me.team_name, Role: me.is_admin ? "Admin" : (ROLES[me.role] ?? me.role) })),
    card("API Tokens", h("p", {}, h("a", { href: "/auth/token" }, "API Tokens"), " let programs use this API in your name.")),
    card("Email", email),
    card("Password", password),
    leave,
  );
}
