// Products: what a plan allows. And which pricing table of Stripe is shown to teams.
import { del, get, post, put } from "../api.js";
import { h, actions, badge, button, card, count, money, notice, show, table, tools } from "../dom.js";
import { confirmDialog, form, formDialog } from "../dialogs.js";

const NUMBERS = [
  ["user_count", "Users", 1],
  ["keys_per_user", "Keys per user", 1],
  ["total_key_count", "Keys in all", 6],
  ["service_key_count", "Service keys", 5],
  ["max_budget_per_key", "Budget per key (USD)", 20],
  ["rpm_per_key", "Requests per minute and key", 500],
  ["vector_db_count", "Vector databases", 1],
  ["vector_db_storage", "Storage (GiB)", 50],
  ["renewal_period_days", "Renewal (days)", 30],
];

function edit(product, refresh) {
  const numbers = NUMBERS.map(([name, label, value]) => ({ name, label, type: "number", min: 0, step: "any", value: product?.[name] ?? value }));
  formDialog({
    title: product ? `Change ${product.name}` : "Create Product",
    submit: product ? "Save" : "Create Product",
    fields: [
      ...(product ? [] : [{ name: "id", label: "Product id (Stripe)", placeholder: "prod_…", autocomplete: "off" }]),
      { name: "name", label: "Name", value: product?.name, autocomplete: "off" },
      ...numbers,
      { name: "active", label: "Active", type: "checkbox", value: product?.active ?? true },
    ],
    onSubmit: async (entered) => {
      await (product ? put(`/products/${product.id}`, entered) : post("/products", entered));
      notice("The product is saved.");
      await refresh();
    },
  });
}

export default async function page(content) {
  const list = h("div");
  const remove = (product) =>
    confirmDialog({
      title: `Delete ${product.name}?`,
      text: "A product that a team has is not deleted.",
      onConfirm: async () => {
        await del(`/products/${product.id}`);
        await refresh();
      },
    });
  const columns = [
    { label: "Name", value: (product) => product.name },
    { label: "Id", value: (product) => h("code", {}, product.id) },
    { label: "Users", number: true, value: (product) => count(product.user_count) },
    { label: "Keys", number: true, value: (product) => count(product.total_key_count) },
    { label: "Budget per key", number: true, value: (product) => money(product.max_budget_per_key) },
    { label: "State", value: (product) => badge(product.active ? "active" : "inactive", product.active ? "good" : "bad") },
    { label: "Actions", value: (product) => actions(button("Change", () => edit(product, refresh)), button("Delete", () => remove(product), "danger")) },
  ];
  const refresh = () => show(list, () => get("/products"), (products) => table("All products", columns, products), "There are no products yet.");
  const prices = form(
    [
      { name: "pricing_table_id", label: "Pricing table (Stripe)", placeholder: "prctbl_…", autocomplete: "off" },
      { name: "table_type", label: "For", type: "select", options: [["standard", "all teams"], ["always_free", "teams that are always free"]] },
    ],
    "Save",
    async (entered) => {
      await post("/pricing-tables", entered);
      notice("The pricing table is saved.");
    },
  );
  tools(button("Create Product", () => edit(null, refresh), "primary"));
  content.replaceChildren(list, card("Pricing table", prices));
  await refresh();
}
