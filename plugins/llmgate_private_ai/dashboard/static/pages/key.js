// One key: how to connect, what it has used, how it is configured, and its end.
import { del, get, put } from "../api.js";
import { h, button, card, count, moment, money, notice, pairs, secret, snippet, table, tools } from "../dom.js";
import { confirmDialog, formDialog } from "../dialogs.js";
import { kindOf, ownerOf } from "./keys.js";

const DAYS = 30;
const DAY = 86_400_000;
const SVG = "http://www.w3.org/2000/svg";

function connection(key) {
  const model = key.litellm_token && {
    "API URL": h("code", {}, key.litellm_api_url),
    "LLM token": secret(key.litellm_token, "LLM token"),
  };
  const database = key.database_name && {
    "Database host": h("code", {}, key.database_host),
    "Database port": key.database_port && h("code", {}, String(key.database_port)),
    "Database name": h("code", {}, key.database_name),
    Username: h("code", {}, key.database_username),
    Password: secret(key.database_password, "database password"),
  };
  return card("Connection Details", pairs({ Region: key.region_label ?? key.region, Type: kindOf(key), ...model, ...database }));
}

// Commands that work once the secrets are filled in: they are in none of them.
function example(key) {
  const model = key.litellm_token && `curl ${key.litellm_api_url}/models -H "Authorization: Bearer YOUR-LLM-TOKEN"`;
  const database = key.database_name && `psql "host=${key.database_host} port=${key.database_port} dbname=${key.database_name} user=${key.database_username}"`;
  return card(
    "Try it",
    model && [h("p", { class: "help" }, "Which models there are:"), snippet(model, "command for models")],
    database && [h("p", { class: "help" }, "Into the database; it asks for the password:"), snippet(database, "command for the database")],
  );
}

// Requests of each of the last days as bars; the table below has the numbers.
function chart(daily) {
  const byDate = new Map(daily.map((entry) => [entry.date, entry.requests]));
  const last = Date.parse(daily.at(-1).date);
  const days = Array.from({ length: DAYS }, (_, i) => new Date(last - (DAYS - 1 - i) * DAY).toISOString().slice(0, 10));
  const most = Math.max(...days.map((date) => byDate.get(date) ?? 0), 1);
  const svg = document.createElementNS(SVG, "svg");
  const set = (element, attributes) => Object.entries(attributes).forEach(([name, value]) => element.setAttribute(name, value));
  set(svg, { class: "chart", viewBox: `0 0 ${DAYS * 10} 60`, preserveAspectRatio: "none", role: "img", "aria-label": `Requests of the last ${DAYS} days; at most ${most} a day` });
  days.forEach((date, i) => {
    const height = Math.max(1, (58 * (byDate.get(date) ?? 0)) / most);
    const bar = document.createElementNS(SVG, "rect");
    set(bar, { x: i * 10 + 1.5, y: 60 - height, width: 7, height, rx: 1, class: byDate.get(date) ? "" : "none" });
    svg.append(bar);
  });
  return svg;
}

function usage(used) {
  const share = used.max_budget ? Math.min(1, used.spend / used.max_budget) : null;
  const bar = share !== null && h("progress", { max: 1, value: share, "aria-label": "Part of the budget that is spent" });
  const days = (used.daily ?? []).slice(-14).reverse();
  const columns = [
    { label: "Day", value: (day) => day.date },
    { label: "Spend", number: true, value: (day) => money(day.spend) },
    { label: "Requests", number: true, value: (day) => count(day.requests) },
    { label: "Tokens in", number: true, value: (day) => count(day.prompt_tokens) },
    { label: "Tokens out", number: true, value: (day) => count(day.completion_tokens) },
  ];
  return card(
    "Usage Statistics",
    bar,
    pairs({
      Spend: money(used.spend),
      Budget: money(used.max_budget),
      Remaining: money(used.remaining),
      Requests: count(used.requests),
      Tokens: count(used.total_tokens),
      "Last used": moment(used.last_used_at),
    }),
    days.length ? [chart(used.daily), table("By day", columns, days)] : h("p", { class: "help" }, "Nothing was used yet."),
  );
}

function configuration(key, used, me) {
  return card(
    "Configuration",
    pairs({
      Models: key.models?.length ? key.models.join(", ") : "all of the region",
      "Requests per minute": count(used.rpm_limit),
      "Budget period": used.budget_duration ?? "none",
      "Budget starts over": moment(used.budget_reset_at),
      Expires: moment(used.expires),
      Owner: ownerOf(key, me),
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

const askToDelete = (key) =>
  confirmDialog({
    title: `Delete ${key.name}?`,
    text: "The token stops working at once, and the vector database with all that is in it is removed. This cannot be undone.",
    onConfirm: async () => {
      await del(`/private-ai-keys/${key.id}`);
      location.assign("/private-ai-keys");
    },
  });

export default async function page(content, me) {
  const id = location.pathname.split("/").pop();
  const refresh = async () => {
    const [key, used] = await Promise.all([get(`/private-ai-keys/${id}`), get(`/private-ai-keys/${id}/usage`)]);
    const called = key.name || `Key ${key.id}`;
    document.querySelector("h1").textContent = called;
    document.title = `${called} · Private AI`;
    document.querySelector(".lead").replaceChildren(h("a", { href: "/private-ai-keys" }, "← All keys"));
    const mayExtend = key.litellm_token && (me.is_admin || me.role === "admin");
    const mayDelete = me.is_admin || me.role !== "read_only";
    tools(mayExtend && button("Update Budget", () => extend(key, used, refresh)), mayDelete && button("Delete", () => askToDelete(key), "danger"));
    content.replaceChildren(
      h("div", { class: "cards" }, connection(key), configuration(key, used, me)),
      ...[example(key), key.litellm_token && usage(used)].filter(Boolean),
    );
  };
  await refresh();
}
