// Every page: who is signed in, the sidebar, and the module of the page, which fills #content.
import { get, post } from "./api.js";
import { h, button } from "./dom.js";

export const ROLES = { admin: "Team Admin", key_creator: "Key Creator", read_only: "Read Only" };

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

function sidebar(me) {
  const link = ([href, text]) => {
    const here = location.pathname === href || (href !== "/" && location.pathname.startsWith(`${href}/`));
    return h("li", {}, h("a", { href, "aria-current": here && "page" }, text));
  };
  const group = ({ title, links }) => [title && h("h2", {}, title), h("ul", {}, links.map(link))];
  const leave = button("Log out", async () => {
    await post("/auth/logout");
    location.assign("/auth/login");
  });
  return [
    ...GROUPS.filter(({ visible }) => !visible || visible(me)).flatMap(group),
    h("p", { class: "help" }, me.email),
    leave,
  ];
}

function prepareMenu(nav) {
  const menu = document.getElementById("menu");
  menu.addEventListener("click", () => menu.setAttribute("aria-expanded", String(nav.classList.toggle("open"))));
}

async function start() {
  const main = document.getElementById("main");
  const content = document.getElementById("content");
  let me = null;
  try {
    if (main.dataset.public !== "true") {
      me = await get("/auth/me");
      const nav = document.getElementById("sidebar");
      nav.replaceChildren(...sidebar(me).filter(Boolean));
      prepareMenu(nav);
    }
    const page = await import(`./pages/${main.dataset.page}.js`);
    await page.default(content, me);
  } catch (error) {
    if (error.status === 401 && main.dataset.public !== "true") {
      const next = location.pathname === "/" ? "" : `?next=${encodeURIComponent(location.pathname)}`;
      location.replace(`/auth/login${next}`);
      return;
    }
    content.replaceChildren(
      h("div", { class: "state error", role: "alert" }, h("p", {}, error.message), button("Reload", () => location.reload())),
    );
  }
}

start();
