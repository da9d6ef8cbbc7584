// Every key there is, by name, region, owner or database.
import { get } from "../api.js";
import { h, show } from "../dom.js";
import { keyTable, ownerOf } from "./keys.js";

export default async function page(content, me) {
  const list = h("div");
  const search = h("input", { id: "search", type: "search", oninput: () => list.replaceChildren(...found()) });
  let keys = [];
  let users = [];
  const found = () => {
    const wanted = search.value.toLowerCase();
    const texts = (key) => [key.name, key.region, key.region_label, key.database_name, ownerOf(key, me, users)];
    const those = keys.filter((key) => texts(key).some((text) => (text ?? "").toLowerCase().includes(wanted)));
    return [those.length ? keyTable("All keys", those, me, { users }) : h("p", { class: "state" }, "No key matches.")];
  };
  content.replaceChildren(h("div", { class: "toolbar" }, h("div", { class: "grow" }, h("label", { for: "search" }, "Search by name, region, owner or database"), search)), list);
  const load = async () => {
    [keys, users] = await Promise.all([get("/private-ai-keys"), get("/users")]);
    return keys;
  };
  await show(list, load, found, "There are no keys yet.");
}
