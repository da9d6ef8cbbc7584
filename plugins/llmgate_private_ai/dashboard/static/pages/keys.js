// The keys of the caller, and those that its role lets it see; and making one.
import { get, post } from "../api.js";
import { h, attempt, badge, button, day, money, secret, show, table, tools } from "../dom.js";
import { formDialog } from "../dialogs.js";

const TYPES = {
  full: ["Full Key", "/private-ai-keys", "An LLM token and a vector database."],
  llm: ["LLM Token Only", "/private-ai-keys/token", "For asking models."],
  vector: ["Vector DB Only", "/private-ai-keys/vector-db", "A PostgreSQL database with pgvector."],
};
const SPEND_AT_ONCE = 10;

export const kindOf = (key) => (key.litellm_token && key.database_name ? "Full" : key.litellm_token ? "LLM token" : "Vector DB");
export const link = (key) => h("a", { href: `/private-ai-keys/${key.id}` }, key.name || `Key ${key.id}`);

// Who owns a key, in words: `users` are those that the caller may see.
export function ownerOf(key, me, users = []) {
  if (key.team_id) return key.team_id === me.team_id ? `${me.team_name} (team)` : `team ${key.team_id}`;
  return key.owner_id === me.id ? "you" : (users.find((user) => user.id === key.owner_id)?.email ?? `user ${key.owner_id}`);
}

// What a key has spent: of a few keys at once, of many when asked for.
function spendOf(key, few) {
  if (!key.litellm_token) return "–";
  const place = h("span", {}, "…");
  const look = attempt(async () => {
    const { spend, max_budget } = await get(`/private-ai-keys/${key.id}/spend`);
    place.replaceChildren(max_budget === null ? money(spend) : `${money(spend)} of ${money(max_budget)}`);
  });
  if (few) look();
  else {
    const ask = button("Show", look);
    ask.setAttribute("aria-label", `Show the spend of ${key.name}`);
    place.replaceChildren(ask);
  }
  return place;
}

export function keyTable(caption, keys, me, { users, more = [] } = {}) {
  const few = keys.length <= SPEND_AT_ONCE;
  const columns = [
    { label: "Name", value: (key) => [link(key), badge(kindOf(key), "kind")] },
    { label: "Region", value: (key) => key.region_label ?? key.region },
    { label: "LLM token", value: (key) => secret(key.litellm_token, `LLM token of ${key.name}`) },
    { label: "Database", value: (key) => key.database_name && h("code", {}, key.database_name) },
    { label: "Owner", value: (key) => ownerOf(key, me, users) },
    { label: "Spend", value: (key) => spendOf(key, few) },
    ...(more.length ? more : [{ label: "Created", value: (key) => day(key.created_at) }]),
  ];
  return table(caption, columns, keys);
}

// `owners` are further choices of who owns the key: [value, label], the value being {} or {owner_id} or {team_id} as JSON.
export async function createKey(owners = []) {
  const regions = await get("/regions");
  const fields = [
    { name: "region_id", label: "Region", type: "select", options: regions.map((r) => [r.id, r.label || r.name]) },
    { name: "name", label: "Key Name", autocomplete: "off", maxlength: 255, help: "Say what it is for." },
    { name: "type", label: "Key Type", type: "radio", options: Object.entries(TYPES).map(([id, [label, , more]]) => [id, label, more]) },
  ];
  if (owners.length) fields.push({ name: "owner", label: "Owner", type: "select", options: owners });
  formDialog({
    title: "Create a Private AI Key",
    submit: "Create Key",
    intro: regions.length ? "" : "There is no region yet: an administrator has to add one first.",
    fields,
    onSubmit: async ({ region_id, name, type, owner }) => {
      const key = await post(TYPES[type][1], { region_id: Number(region_id), name, ...JSON.parse(owner || "{}") });
      location.assign(`/private-ai-keys/${key.id}`);
    },
  });
}

export default async function page(content, me) {
  const mayCreate = me.is_admin || me.role !== "read_only";
  tools(mayCreate && button("Create Key", attempt(() => createKey()), "primary"));
  const users = me.is_admin || me.role === "admin" ? await get("/users") : [];
  await show(content, () => get("/private-ai-keys"), (keys) => keyTable("Keys that you may see", keys, me, { users }), "There are no keys yet. Create the first one.");
}
