// The keys of the caller, and those that its role lets it see; and making one.
import { get, post } from "../api.js";
import { h, badge, button, moment, notice, secret, show, table } from "../dom.js";
import { formDialog } from "../dialogs.js";

const TYPES = {
  full: ["Full Key", "/private-ai-keys"],
  llm: ["LLM Token Only", "/private-ai-keys/token"],
  vector: ["Vector DB Only", "/private-ai-keys/vector-db"],
};

export const kindOf = (key) => (key.litellm_token && key.database_name ? "Full" : key.litellm_token ? "LLM token" : "Vector DB");
export const link = (key) => h("a", { href: `/private-ai-keys/${key.id}` }, key.name || `Key ${key.id}`);

export function keyTable(caption, keys, more = []) {
  return table(
    caption,
    [
      { label: "Name", value: link },
      { label: "Type", value: (key) => badge(kindOf(key)) },
      { label: "Region", value: (key) => key.region_label ?? key.region },
      { label: "LLM token", value: (key) => secret(key.litellm_token, `LLM token of ${key.name}`) },
      { label: "Database", value: (key) => key.database_name },
      { label: "Owner", value: (key) => (key.team_id ? `team ${key.team_id}` : `user ${key.owner_id}`) },
      { label: "Created", value: (key) => moment(key.created_at) },
      ...more,
    ],
    keys,
  );
}

// `owners` are further choices of who owns the key: [value, label], the value being {} or {owner_id} or {team_id} as JSON.
export async function createKey(done, owners = []) {
  const regions = await get("/regions");
  const fields = [
    { name: "region_id", label: "Region", type: "select", options: regions.map((r) => [r.id, r.label || r.name]) },
    { name: "name", label: "Key Name", autocomplete: "off", maxlength: 255 },
    { name: "type", label: "Key Type", type: "radio", options: Object.entries(TYPES).map(([id, [label]]) => [id, label]) },
  ];
  if (owners.length) fields.push({ name: "owner", label: "Owner", type: "select", options: owners });
  formDialog({
    title: "Create a Private AI Key",
    submit: "Create Key",
    intro: regions.length ? "" : "There is no region yet: an administrator has to add one first.",
    fields,
    onSubmit: async ({ region_id, name, type, owner }) => {
      const key = await post(TYPES[type][1], { region_id: Number(region_id), name, ...JSON.parse(owner || "{}") });
      notice(`Key ${key.name} was created.`);
      await done(key);
    },
  });
}

export default async function page(content, me) {
  const list = h("div");
  const refresh = () =>
    show(list, () => get("/private-ai-keys"), (keys) => keyTable("Keys that you may see", keys), "There are no keys yet. Create the first one.");
  const mayCreate = me.is_admin || me.role !== "read_only";
  const create = button("Create Key", () => createKey(refresh).catch((error) => notice(error.message)), "primary");
  content.replaceChildren(...[mayCreate && h("div", { class: "toolbar" }, create), list].filter(Boolean));
  await refresh();
}
