// All users: find, add, change what they are.
import { del, get, post, put } from "../api.js";
import { h, actions, attempt, badge, button, notice, show, table, tools } from "../dom.js";
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
  const search = h("input", { id: "search", type: "search", oninput: () => list.replaceChildren(...found()) });
  let users = [];
  const change = (user, fields) =>
    attempt(async () => {
      await put(`/users/${user.id}`, fields);
      notice("Saved.");
      await refresh();
    });
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
          user.team_id ? button("Change Role", () => changeRole(user, refresh)) : button(user.is_admin ? "Revoke Admin" : "Make Admin", change(user, { is_admin: !user.is_admin })),
          button(user.is_active ? "Deactivate" : "Activate", change(user, { is_active: !user.is_active })),
          button("Delete", () => remove(user), "danger"),
        ),
    },
  ];
  const found = () => {
    const wanted = search.value.toLowerCase();
    const those = users.filter((user) => user.email.includes(wanted) || (user.team_name ?? "").toLowerCase().includes(wanted));
    return [those.length ? table("All users", columns, those) : h("p", { class: "state" }, "Nobody matches.")];
  };
  const refresh = () => show(list, async () => (users = await get("/users")), found);
  tools(button("Add User", attempt(() => addUser(refresh)), "primary"));
  content.replaceChildren(h("div", { class: "toolbar" }, h("div", { class: "grow" }, h("label", { for: "search" }, "Search by address or team"), search)), list);
  await refresh();
}
