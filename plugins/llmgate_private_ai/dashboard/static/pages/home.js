// What there is at a glance: keys, regions, the team.
import { get } from "../api.js";
import { h, badge, card, count, pairs, show, table } from "../dom.js";
import { ROLES } from "../shell.js";

const FIRST_ADMIN = "admin@example.com";

const columns = [
  { label: "Name", value: (region) => region.label || region.name },
  { label: "Description", value: (region) => region.description },
  { label: "Kind", value: (region) => badge(region.is_dedicated ? "dedicated" : "public") },
];

function team(me) {
  if (me.is_admin) return h("p", {}, "You administer the system: teams, users and regions are in the sidebar under Admin.");
  if (!me.team_id) return h("p", {}, "You are in no team. Keys that you make are your own.");
  const more = me.role === "admin" && h("p", {}, h("a", { href: "/team-admin/users" }, "Members"), " · ", h("a", { href: "/team-admin/pricing" }, "Plan and billing"));
  return h("div", {}, pairs({ Team: me.team_name, "Your role": ROLES[me.role] ?? me.role }), more);
}

const keyCount = (keys) => [
  h("p", { class: "figure" }, count(keys.length)),
  h("p", { class: "help" }, keys.length === 1 ? "key that you may see" : "keys that you may see"),
  h("p", {}, h("a", { href: "/private-ai-keys" }, keys.length ? "Manage keys" : "Create the first one")),
];

export default async function page(content, me) {
  const keys = h("div");
  const regions = h("div");
  const warning =
    me.email === FIRST_ADMIN &&
    h("p", { class: "notice" }, "This is the first administrator's account. ", h("a", { href: "/account" }, "Change its password"), " if you have not.");
  const cards = h("div", { class: "cards" }, card("Private AI Keys", keys), card(me.is_admin ? "Admin Panel" : "Team Information", team(me)));
  content.replaceChildren(...[warning, cards, card("Regions", regions)].filter(Boolean));
  await Promise.all([
    show(keys, () => get("/private-ai-keys"), keyCount),
    show(
      regions,
      () => get("/regions"),
      (list) => table("Where keys can be made", columns, list),
      "There is no region yet. An administrator adds one under Admin, Regions.",
    ),
  ]);
}
