// Every page: who is signed in, the sidebar, and the module of the page, which fills #content.
import { get, post } from "./api.js";
import { h, attempt, button } from "./dom.js";

export const ROLES = { admin: "Team Admin", key_creator: "Key Creator", read_only: "Read Only" };

const REFRESH_AFTER = 10 * 60 * 1000;

const GROUPS = [
  { title: "", links: [["/", "Dashboard"], ["/private-ai-keys", "Private AI Keys"]] },
  {
    title: "Team Admin",
    visible: (me) => me.role === "admin" && me.team_id,
    links: [["/team-admin/users", "Users"], ["/team-admin/private-ai-keys", "Team Keys"], ["/team-admin/pricing", "Pricing"]],
  },
  {
    title: "Admin",
    visible: (me) => me.is_admin,
    links: [
      ["/admin/teams", "Teams"],
      ["/admin/users", "All Users"],
      ["/admin/regions", "Regions"],
      ["/admin/products", "Products"],
      ["/admin/private-ai-keys", "All Keys"],
      ["/admin/audit-logs", "Audit Logs"],
    ],
  },
  { title: "Account", links: [["/account", "Account"], ["/auth/token", "API Tokens"]] },
];

export const logOut = attempt(async () => {
  await post("/auth/logout");
  location.assign("/auth/login");
});

function sidebar(me) {
  const link = ([href, text]) => {
    const here = location.pathname === href || (href !== "/" && location.pathname.startsWith(`${href}/`));
    return h("li", {}, h("a", { href, "aria-current": here && "page" }, text));
  };
  const group = ({ title, links }) => [title && h("h2", {}, title), h("ul", {}, links.map(link))];
  const shown = GROUPS.filter(({ visible }) => !visible || visible(me)).map(group);
  const who = h("div", { class: "me" }, h("p", {}, me.email, me.team_name && h("span", { class: "help" }, h("br"), me.team_name)), button("Log out", logOut));
  return h("div", {}, shown.flat().filter(Boolean), who);
}

function prepareMenu(nav) {
  const menu = document.getElementById("menu");
  menu.addEventListener("click", () => menu.setAttribute("aria-expanded", String(nav.classList.toggle("open"))));
}

// Who works here stays signed in: a session that is used gets a new one before it ends.
async function stayIn() {
  const last = Number(sessionStorage.getItem("refreshed"));
  if (Date.now() - last < REFRESH_AFTER) return;
  if (last) await get("/auth/validate-jwt");
  sessionStorage.setItem("refreshed", Date.now());
}

async function start() {
  const { page } = document.getElementById("main").dataset;
  const content = document.getElementById("content");
  try {
    let me = null;
    if (document.body.classList.contains("signed-in")) {
      await stayIn();
      me = await get("/auth/me");
      const nav = document.getElementById("sidebar");
      nav.replaceChildren(sidebar(me));
      prepareMenu(nav);
    } else {
      sessionStorage.removeItem("refreshed");
    }
    await (await import(`./pages/${page}.js`)).default(content, me);
  } catch (error) {
    content.replaceChildren(
      h("div", { class: "state error", role: "alert" }, h("p", {}, error.message), button("Reload", () => location.reload())),
    );
  } finally {
    content.setAttribute("aria-busy", "false");
  }
}

start();
