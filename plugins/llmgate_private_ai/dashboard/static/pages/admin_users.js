// All users: find, add, change what they are.
import { del, get, post, put } from "../api.js";
import { h, actions, badge, button, notice, show, table } from "../dom.js";
import { confirmDialog, formDialog } from "../dialogs.js";
import { ROLES } from "../shell.js";
import { changeRole, roleField } from "./team_users.js";

async function addUser(refresh) {
  const teams = await get("/teams");
  formDialog({
    title: "Add User",
    submit: "Add User",
    fields: [
      { name: "email", label: "Email", type: "email", autocomplete: "off" },
      { name: "password", label: "Password", type: "password", required: false, minlength: 8, autocomplete: "new-password", help: "Leave it empty to send an invitation by mail." },
      { name: "team_id", label: "Team", type: "select", required: false, options: [["", "none"], ...teams.map((team) => [team.id, team.name])] },
      roleField(),
    ],
    onSubmit: async ({ email, password, team_id, role }) => {
      await post("/users", { email, ...(password && { password }), ...(team_id && { team_id: Number(team_id), role }) });
      notice("The user was added.");
      await refresh();
    },
  });
}

export default async function page(content, me) {
  const list = h("div");
  const search = h("input", { id: "search", type: "search", oninput: () => draw() });
  let users = [];
  const change = (user, fields, text) => async () => {
    try {
      await put(`/users/${user.id}`, fields);
      notice(text);
      await refresh();
    } catch (error) {
      notice(error.message);
    }
  };
  const remove = (user) =>
    confirmDialog({
      title: `Delete ${user.email}?`,
      text: "A user who owns keys is not deleted.",
      onConfirm: async () => {
        await del(`/users/${user.id}`);
        await refresh();
      },
    });
  const columns = [
    { label: "Email", value: (user) => user.email },
    { label: "Team", value: (user) => user.team_name },
    { label: "Role", value: (user) => badge(user.is_admin ? "Admin" : (ROLES[user.role] ?? user.role ?? "–")) },
    { label: "Active", value: (user) => (user.is_active ? badge("active", "good") : badge("inactive", "bad")) },
    {
      label: "Actions",
      value: (user) =>
        user.id !== me.id &&
        actions(
          user.team_id ? button("Change Role", () => changeRole(user, refresh)) : button(user.is_admin ? "Revoke Admin" : "Make Admin", change(user, { is_admin: !user.is_admin }, "Saved.")),
          button(user.is_active ? "Deactivate" : "Activate", change(user, { is_active: !user.is_active }, "Saved.")),
          button("Delete", () => remove(user), "danger"),
        ),
    },
  ];
  const draw = () => {
    const wanted = search.value.toLowerCase();
    const found = users.filter((user) => user.email.includes(wanted) || (user.team_name ?? "").toLowerCase().includes(wanted));
    list.replaceChildren(found.length ? table("All users", columns, found) : h("p", { class: "state" }, "Nobody matches."));
  };
  const refresh = () =>
    show(list, async () => (users = await get("/users")), () => (queueMicrotask(draw), []));
  content.replaceChildren(
    h("div", { class: "toolbar" }, h("div", { class: "grow" }, h("label", { for: "search" }, "Search"), search), button("Add User", () => addUser(refresh).catch((error) => notice(error.message)), "primary")),
    list,
  );
  await refresh();
}
