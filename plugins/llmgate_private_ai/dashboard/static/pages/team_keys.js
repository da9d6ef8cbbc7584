// The keys of the team and of its members: for whom they are made, and how long a budget lasts.
import { get, put } from "../api.js";
import { actions, attempt, button, notice, show, tools } from "../dom.js";
import { formDialog } from "../dialogs.js";
import { createKey, keyTable } from "./keys.js";

const PERIODS = [["1d", "a day"], ["7d", "a week"], ["30d", "30 days"], ["1mo", "a calendar month"]];

function changePeriod(key, refresh) {
  formDialog({
    title: `Budget period of ${key.name}`,
    submit: "Save",
    fields: [{ name: "budget_duration", label: "The budget starts over after", type: "select", options: PERIODS, value: "30d" }],
    onSubmit: async (entered) => {
      await put(`/private-ai-keys/${key.id}/budget-period`, entered);
      notice("The budget period is changed.");
      await refresh();
    },
  });
}

export default async function page(content, me) {
  const users = await get("/users");
  const owners = [
    [JSON.stringify({ team_id: me.team_id }), "the team (service key)"],
    ...users.map((user) => [JSON.stringify({ owner_id: user.id }), user.email]),
  ];
  const period = { label: "Actions", value: (key) => key.litellm_token && actions(button("Budget Period", () => changePeriod(key, refresh))) };
  const refresh = () =>
    show(
      content,
      () => get("/private-ai-keys", { team_id: me.team_id }),
      (keys) => keyTable("Keys of the team and its members", keys, me, { users, more: [period] }),
      "The team has no keys yet.",
    );
  tools(button("Create Key", attempt(() => createKey(owners)), "primary"));
  await refresh();
}
