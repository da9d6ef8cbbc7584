// API tokens: for programs that use this API. The token itself is shown once.
import { del, get, post } from "../api.js";
import { actions, button, moment, notice, show, table, tools } from "../dom.js";
import { confirmDialog, formDialog, secretDialog } from "../dialogs.js";

export default async function page(content) {
  const revoke = (token) =>
    button("Delete", () =>
      confirmDialog({
        title: `Delete ${token.name}?`,
        text: "Programs that use this token are refused at once.",
        onConfirm: async () => {
          await del(`/auth/token/${token.id}`);
          notice("The token is deleted.");
          await refresh();
        },
      }), "danger");
  const columns = [
    { label: "Name", value: (token) => token.name },
    { label: "Created", value: (token) => moment(token.created_at) },
    { label: "Last used", value: (token) => moment(token.last_used_at) },
    { label: "Actions", value: (token) => actions(revoke(token)) },
  ];
  const refresh = () => show(content, () => get("/auth/token"), (tokens) => table("Your API tokens", columns, tokens), "You have no API tokens.");
  const create = () =>
    formDialog({
      title: "Create an API token",
      submit: "Create Token",
      fields: [{ name: "name", label: "Token Name", maxlength: 255, autocomplete: "off", help: "Say which program it is for." }],
      onSubmit: async ({ name }) => {
        const made = await post("/auth/token", { name });
        await refresh();
        secretDialog({ title: "Your new token", text: "Copy it now: it is not shown again.", value: made.token, what: "API token" });
      },
    });
  tools(button("Create Token", create, "primary"));
  await refresh();
}
