// The link in a mail about a trial: signs in, then leads to the plans.
import { get } from "../api.js";
import { h } from "../dom.js";

export default async function page(content) {
  const token = new URLSearchParams(location.search).get("token") ?? "";
  history.replaceState(null, "", location.pathname);
  try {
    await get("/auth/validate-jwt", { token });
    location.replace("/team-admin/pricing");
  } catch (error) {
    content.replaceChildren(h("p", { class: "state error", role: "alert" }, error.message), h("p", {}, h("a", { href: "/auth/login" }, "Sign in")));
  }
}
