// One key: how to connect, what it has used, how it is configured, and its end.
import { del, get, put } from "../api.js";
import { h, button, card, count, moment, money, notice, pairs, secret, table } from "../dom.js";
import { confirmDialog, formDialog } from "../dialogs.js";
import { kindOf } from "./keys.js";

function connection(key) {
  const model = key.litellm_token && {
    "API URL": h("code", {}, key.litellm_api_url),
    "LLM token": secret(key.litellm_token, "LLM token"),
  };
  const database = key.database_name && {
    "Database host": h("code", {}, key.database_port ? `${key.database_host}:${key.database_port}` : key.database_host),
    "Database name": h("code", {}, key.database_name),
    Username: h("code", {}, key.database_username),
    Password: secret(key.database_password, "database password"),
  };
  return card("Connection Details", pairs({ Region: key.region_label ?? key.region, Type: kindOf(key), ...model, ...database }));
}

function usage(used) {
  const share = used.max_budget ? Math.min(1, used.spend / used.max_budget) : null;
  const bar = share !== null && h("progress", { max: 1, value: share, "aria-label": "Part of the budget that is spent" });
  const days = (used.daily ?? []).slice(-14);
  const columns = [
    { label: "Day", value: (day) => day.date },
    { label: "Spend", number: true, value: (day) => money(day.spend) },
    { label: "Requests", number: true, value: (day) => count(day.requests) },
    { label: "Tokens in", number: true, value: (day) => count(day.prompt_tokens) },
    { label: "Tokens out", number: true, value: (day) => count(day.completion_tokens) },
  ];
  return card(
    "Usage Statistics",
    pairs({
      Spend: money(used.spend),
      Budget: money(used.max_budget),
      Remaining: money(used.remaining),
      Requests: count(used.requests),
      Tokens: count(used.total_tokens),
      "Last used": moment(used.last_used_at),
    }),
    bar,
    days.length ? table("By day", columns, days) : h("p", { class: "help" }, "Nothing was used yet."),
  );
}

function configuration(key, used) {
  return card(
    "Configuration",
    pairs({
      Models: key.models?.length ? key.models.join(", ") : "all of the region",
      "Requests per minute": count(used.rpm_limit),
      "Budget period": used.budget_duration ?? "none",
      "Budget starts over": moment(used.budget_reset_at),
      Expires: moment(used.expires),
      Owner: key.team_id ? `team ${key.team_id}` : `user ${key.owner_id}`,
      Created: moment(key.created_at),
    }),
  );
}

function extend(key, used, refresh) {
  formDialog({
    title: "Update the budget",
    submit: "Save",
    fields: [
      { name: "duration", label: "Days from now", type: "number", value: 30, min: 0 },
      { name: "max_budget", label: "Budget (USD)", type: "number", value: used.max_budget, min: 0, step: "0.01", required: false },
      { name: "rpm", label: "Requests per minute", type: "number", value: used.rpm_limit, min: 1, required: false },
    ],
    onSubmit: async (entered) => {
      await put("/private-ai-keys/token/extend-token-life", { token: key.litellm_token, ...entered });
      notice("The budget is updated.");
      await refresh();
    },
  });
}

export default async function page(content, me) {
  const id = location.pathname.split("/").pop();
  const refresh = async () => {
    const [key, used] = await Promise.all([get(`/private-ai-keys/${id}`), get(`/private-ai-keys/${id}/usage`)]);
    document.querySelector("h1").textContent = key.name || `Key ${key.id}`;
    const remove = button("Delete", () =>
      confirmDialog({
        title: `Delete ${key.name}?`,
        text: "The token stops working at once, and the vector database with all that is in it is removed. This cannot be undone.",
        onConfirm: async () => {
          await del(`/private-ai-keys/${id}`);
          location.assign("/private-ai-keys");
        },
      }), "danger");
    const mayExtend = key.litellm_token && (me.is_admin || me.role === "admin");
    const mayDelete = me.is_admin || me.role !== "read_only";
    const tools = [mayExtend && button("Update Budget", () => extend(key, used, refresh)), mayDelete && remove].filter(Boolean);
    content.replaceChildren(
      h("p", {}, h("a", { href: "/private-ai-keys" }, "All keys")),
      ...[connection(key), key.litellm_token && usage(used), configuration(key, used), h("div", { class: "toolbar" }, tools)].filter(Boolean),
    );
  };
  await refresh();
}
