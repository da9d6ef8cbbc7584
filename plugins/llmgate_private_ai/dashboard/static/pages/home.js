// What there is at a glance: keys, regions, the team.
import { get } from "../api.js";
import { h, card, count, pairs, show, table } from "../dom.js";
import { ROLES } from "../shell.js";

const FIRST_ADMIN = "admin@example.com";

function team(me) {
  if (me.is_admin) return h("p", {}, "You administer the system. Teams, users and regions are in the sidebar under Admin.");
  if (!me.team_id) return h("p", {}, "You are in no team.");
  return pairs({ Team: me.team_name, "Your role": ROLES[me.role] ?? me.role });
}

export default async function page(content, me) {
  const keys = h("div");
  const regions = h("div");
  const warning =
    me.email === FIRST_ADMIN &&
    h("p", { class: "notice" }, "This is the first administrator's account. ", h("a", { href: "/account" }, "Change its password"), " if you have not.");
  content.replaceChildren(
    ...[
      warning,
      card("Private AI Keys", keys),
      card("Regions", regions),
      card("Team Information", team(me)),
    ].filter(Boolean),
  );
  await Promise.all([
    show(keys, () => get("/private-ai-keys"), (list) => h("p", {}, `${count(list.length)} key${list.length === 1 ? "" : "s"}. `, h("a", { href: "/private-ai-keys" }, "Manage them"))),
    show(
      regions,
      () => get("/regions"),
      (list) => table("Where keys can be made", [{ label: "Name", value: (r) => r.label || r.name }, { label: "Description", value: (r) => r.description }, { label: "Kind", value: (r) => (r.is_dedicated ? "dedicated" : "public") }], list),
      "There is no region yet. An administrator adds one under Admin, Regions.",
    ),
  ]);
}
