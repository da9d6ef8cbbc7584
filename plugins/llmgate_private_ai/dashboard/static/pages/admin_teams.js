// All teams: create, look into one, its plan and its end.
import { del, get, post, put } from "../api.js";
import { h, actions, attempt, badge, button, card, day, moment, notice, pairs, show, table, tools } from "../dom.js";
import { confirmDialog, formDialog } from "../dialogs.js";
import { addUser, memberColumns } from "./team_users.js";

function createTeam(refresh) {
  formDialog({
    title: "Create Team",
    submit: "Create Team",
    fields: [
      { name: "name", label: "Team Name", maxlength: 255, autocomplete: "off" },
      { name: "admin_email", label: "Admin Email", type: "email", autocomplete: "off" },
      { name: "phone", label: "Phone", type: "tel", required: false, autocomplete: "off" },
      { name: "billing_address", label: "Billing Address", type: "textarea", required: false },
    ],
    onSubmit: async ({ phone, billing_address, ...entered }) => {
      const team = await post("/teams", { ...entered, ...(phone && { phone }), ...(billing_address && { billing_address }) });
      notice(`Team ${team.name} was created.`);
      await refresh();
    },
  });
}

async function subscribe(team, refresh) {
  const products = await get("/products");
  formDialog({
    title: `Subscribe ${team.name}`,
    submit: "Subscribe",
    intro: "Only products without a price can be given away here; all others are bought by the team itself.",
    fields: [{ name: "product_id", label: "Product", type: "select", options: products.map((product) => [product.id, product.name]) }],
    onSubmit: async (entered) => {
      await post(`/billing/teams/${team.id}/subscriptions`, entered);
      notice("The subscription is under way.");
      await refresh();
    },
  });
}

const said = (work, text, refresh) =>
  attempt(async () => {
    await work();
    notice(text);
    await refresh();
  });

async function details(team, me, refresh) {
  const [full, products] = await Promise.all([get(`/teams/${team.id}`), get("/products", { team_id: team.id })]);
  const facts = pairs({
    "Admin Email": full.admin_email,
    Phone: full.phone,
    "Billing Address": full.billing_address,
    "Last payment": moment(full.last_payment),
    Products: products.map((product) => product.name).join(", ") || "none",
  });
  const choices = h(
    "div",
    { class: "toolbar" },
    button("Add User", () => addUser(team.id, refresh)),
    button("Extend Trial", said(() => post(`/teams/${team.id}/extend-trial`), "The trial starts over.", refresh)),
    button(full.is_always_free ? "End Always Free" : "Always Free", said(() => put(`/teams/${team.id}`, { is_always_free: !full.is_always_free }), "Saved.", refresh)),
    button("Subscribe", attempt(() => subscribe(team, refresh))),
  );
  return card(team.name, facts, choices, full.users?.length ? table("Members", memberColumns(refresh, me), full.users) : h("p", { class: "help" }, "No members yet."));
}

export default async function page(content, me) {
  const list = h("div");
  const detail = h("div");
  const look = (team) => show(detail, () => details(team, me, () => look(team)), (element) => element);
  const remove = (team) =>
    confirmDialog({
      title: `Delete ${team.name}?`,
      text: "Its subscriptions end and its members are in no team any more. A team that has keys is not deleted.",
      onConfirm: async () => {
        await del(`/teams/${team.id}`);
        detail.replaceChildren();
        await refresh();
      },
    });
  const columns = [
    { label: "Name", value: (team) => team.name },
    { label: "Admin Email", value: (team) => team.admin_email },
    { label: "State", value: (team) => [team.is_active ? badge("active", "good") : badge("suspended", "bad"), team.is_always_free && badge("always free")].filter(Boolean).flatMap((b) => [b, " "]) },
    { label: "Created", value: (team) => day(team.created_at) },
    { label: "Actions", value: (team) => actions(button("Details", () => look(team)), button("Delete", () => remove(team), "danger")) },
  ];
  const refresh = () => show(list, () => get("/teams"), (teams) => table("All teams", columns, teams), "There are no teams yet.");
  tools(button("Create Team", () => createTeam(refresh), "primary"));
  content.replaceChildren(list, detail);
  await refresh();
}
