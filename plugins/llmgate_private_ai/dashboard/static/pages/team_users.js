// The members of the caller's team: add, change roles, remove.
import { get, post } from "../api.js";
import { actions, badge, button, notice, show, table, tools } from "../dom.js";
import { confirmDialog, formDialog } from "../dialogs.js";
import { ROLES } from "../shell.js";

export const roleField = (value = "read_only") => ({ name: "role", label: "Role", type: "select", value, options: Object.entries(ROLES) });

export function changeRole(user, refresh) {
  formDialog({
    title: `Role of ${user.email}`,
    submit: "Save",
    fields: [roleField(user.role)],
    onSubmit: async (entered) => {
      await post(`/users/${user.id}/role`, entered);
      notice("The role is changed.");
      await refresh();
    },
  });
}

export function removeMember(user, refresh) {
  confirmDialog({
    title: `Remove ${user.email} from the team?`,
    text: "They can sign in no more in the name of this team. Their keys stay.",
    action: "Remove",
    onConfirm: async () => {
      await post(`/users/${user.id}/remove-from-team`);
      await refresh();
    },
  });
}

export function addUser(teamId, refresh) {
  formDialog({
    title: "Add User",
    submit: "Add User",
    fields: [
      { name: "email", label: "Email", type: "email", autocomplete: "off" },
      { name: "password", label: "Password", type: "password", required: false, minlength: 8, autocomplete: "new-password", help: "Leave it empty to send an invitation by mail." },
      roleField(),
    ],
    onSubmit: async ({ password, ...entered }) => {
      await post("/users", { ...entered, team_id: teamId, ...(password && { password }) });
      notice(password ? "The user was added." : "The invitation is on its way.");
      await refresh();
    },
  });
}

export const memberColumns = (refresh, me) => [
  { label: "Email", value: (user) => user.email },
  { label: "Role", value: (user) => badge(user.is_admin ? "Admin" : (ROLES[user.role] ?? user.role ?? "–")) },
  { label: "Active", value: (user) => (user.is_active ? badge("active", "good") : badge("inactive", "bad")) },
  {
    label: "Actions",
    value: (user) =>
      actions(button("Change Role", () => changeRole(user, refresh)), user.id !== me.id && button("Remove", () => removeMember(user, refresh), "danger")),
  },
];

export default async function page(content, me) {
  const refresh = () => show(content, () => get("/users"), (users) => table("Members of your team", memberColumns(refresh, me), users), "The team has no members yet.");
  tools(button("Add User", () => addUser(me.team_id, refresh), "primary"));
  await refresh();
}
