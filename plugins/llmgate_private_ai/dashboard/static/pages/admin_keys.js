// Every key there is, by name, region or owner.
import { get } from "../api.js";
import { h, show } from "../dom.js";
import { keyTable } from "./keys.js";

export default async function page(content) {
  const list = h("div");
  const search = h("input", { id: "search", type: "search", oninput: () => draw() });
  let keys = [];
  const draw = () => {
    const wanted = search.value.toLowerCase();
    const found = keys.filter((key) => [key.name, key.region, key.database_name].some((text) => (text ?? "").toLowerCase().includes(wanted)));
    list.replaceChildren(found.length ? keyTable("All keys", found) : h("p", { class: "state" }, "No key matches."));
  };
  content.replaceChildren(h("div", { class: "toolbar" }, h("div", { class: "grow" }, h("label", { for: "search" }, "Search by name, region or database"), search)), list);
  await show(list, async () => (keys = await get("/private-ai-keys")), () => (queueMicrotask(draw), []), "There are no keys yet.");
}
