// What the team has subscribed to, what that allows, and the way to Stripe. The page stands without js.stripe.com.
import { get } from "../api.js";
import { h, button, card, count, moment, money, pairs, table, tools } from "../dom.js";

const STRIPE = "https://js.stripe.com/v3/pricing-table.js";

const columns = [
  { label: "Plan", value: (plan) => plan.name },
  { label: "Users", number: true, value: (plan) => count(plan.user_count) },
  { label: "Keys per user", number: true, value: (plan) => count(plan.keys_per_user) },
  { label: "Service keys", number: true, value: (plan) => count(plan.service_key_count) },
  { label: "Vector DBs", number: true, value: (plan) => count(plan.vector_db_count) },
  { label: "Budget per key", number: true, value: (plan) => money(plan.max_budget_per_key) },
  { label: "Requests/min", number: true, value: (plan) => count(plan.rpm_per_key) },
];

async function plans(me, settings) {
  if (!settings.STRIPE_PUBLISHABLE_KEY) return h("p", {}, "Payments are not set up here. Ask your administrator for a plan.");
  try {
    const [session, prices] = await Promise.all([get(`/billing/teams/${me.team_id}/pricing-table-session`), get("/pricing-tables")]);
    document.head.append(h("script", { src: STRIPE, async: true }));
    return h("stripe-pricing-table", {
      "pricing-table-id": prices.pricing_table_id,
      "publishable-key": settings.STRIPE_PUBLISHABLE_KEY,
      "customer-session-client-secret": session.client_secret,
    });
  } catch (error) {
    return h("p", { class: "error", role: "alert" }, `The plans cannot be shown: ${error.message}`);
  }
}

export default async function page(content, me) {
  const [settings, team, mine, keys] = await Promise.all([
    get("/config"),
    get(`/teams/${me.team_id}`),
    get("/products", { team_id: me.team_id }),
    get("/private-ai-keys", { team_id: me.team_id }),
  ]);
  const problem = h("p", { class: "error", role: "alert" });
  const manage = button(
    "Manage Subscription",
    async () => {
      problem.textContent = "";
      try {
        const { url } = await get(`/billing/teams/${me.team_id}/portal`);
        location.assign(url);
      } catch (error) {
        problem.textContent = error.message;
      }
    },
    "primary",
  );
  const subscription = mine.length ? table("Current subscription", columns, mine) : h("p", {}, team.is_always_free ? "This team is free of charge." : "No plan yet: this team is on trial.");
  const most = (name) => (mine.length ? Math.max(...mine.map((plan) => plan[name])) : null);
  const of = (number, limit) => (limit === null ? count(number) : `${count(number)} of ${count(limit)}`);
  const used = pairs({
    Users: of(team.users?.length, most("user_count")),
    "LLM tokens": of(keys.filter((key) => key.litellm_token).length, most("total_key_count")),
    "Service keys": of(keys.filter((key) => key.team_id && key.litellm_token).length, most("service_key_count")),
    "Vector databases": of(keys.filter((key) => key.database_name).length, most("vector_db_count")),
    "Last payment": moment(team.last_payment),
  });
  tools(manage);
  content.replaceChildren(
    problem,
    h("div", { class: "cards" }, card("Subscription", subscription), card("Usage and limits", used)),
    card("Plans", await plans(me, settings)),
  );
}
