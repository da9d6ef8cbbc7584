// Who did what, refused requests included: newest first, by page.
import { get } from "../api.js";
import { h, button, moment, show, table } from "../dom.js";

const PAGE = 50;

const columns = [
  { label: "Time", value: (entry) => moment(entry.timestamp) },
  { label: "User", value: (entry) => entry.user_email ?? "–" },
  { label: "Action", value: (entry) => h("code", {}, entry.action) },
  { label: "Status", number: true, value: (entry) => String(entry.details?.status_code ?? "–") },
  { label: "Address", value: (entry) => entry.ip_address },
  { label: "From", value: (entry) => entry.request_source },
];

export default async function page(content) {
  const list = h("div");
  const known = await get("/audit/logs/metadata");
  const choice = (name, label, values) => {
    const id = `filter-${name}`;
    return h("div", {}, h("label", { for: id }, label), h("select", { id, name, onchange: () => restart() }, h("option", { value: "" }, "any"), values.map((value) => h("option", { value }, String(value)))));
  };
  const filters = h(
    "form",
    { class: "toolbar", onsubmit: (event) => (event.preventDefault(), restart()) },
    choice("event_type", "Method", known.event_types),
    choice("resource_type", "Resource", known.resource_types),
    choice("status_code", "Status", known.status_codes),
    h("div", { class: "grow" }, h("label", { for: "filter-user" }, "User email"), h("input", { id: "filter-user", name: "user_email", type: "search" })),
    h("button", { type: "submit" }, "Filter"),
  );
  let skip = 0;
  const query = () => ({ ...Object.fromEntries([...new FormData(filters)].filter(([, value]) => value)), skip, limit: PAGE });
  const turn = (by) => () => {
    skip = Math.max(0, skip + by);
    draw();
  };
  const render = ({ items, total }) => [
    items.length ? table(`Entries ${skip + 1} to ${skip + items.length} of ${total}`, columns, items) : h("p", { class: "state" }, "Nothing matches."),
    h("div", { class: "buttons" }, skip > 0 && button("Newer", turn(-PAGE)), skip + items.length < total && button("Older", turn(PAGE))),
  ];
  const draw = () => show(list, () => get("/audit/logs", query()), render);
  const restart = () => {
    skip = 0;
    draw();
  };
  content.replaceChildren(filters, list);
  await draw();
}
