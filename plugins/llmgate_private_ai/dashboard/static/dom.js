// Elements from data. Text is always set as text: nothing that a server says is ever read as HTML.

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// What one can do on this page, beside its title.
export const tools = (...buttons) => document.getElementById("tools").replaceChildren(...buttons.filter(Boolean));

// Runs `work`, and shows what goes wrong as a notice.
export const attempt = (work) => async () => {
  try {
    await work();
  } catch (error) {
    notice(error.message);
  }
};

export const button = (label, onclick, kind = "") => h("button", { type: "button", class: kind, onclick }, label);

// `rows` of a table; `columns` are {label, value(row), number}. A value is text or an element.
export function table(caption, columns, rows) {
  const head = columns.map(({ label, number }) => h("th", { scope: "col", class: number && "number" }, label));
  const line = (row) =>
    h("tr", {}, columns.map((c) => h("td", { "data-label": c.label, class: c.number && "number" }, c.value(row) || "–")));
  return h("div", { class: "table" }, h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, rows.map(line))));
}

export const pairs = (entries) =>
  h("dl", { class: "pairs" }, Object.entries(entries).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value ?? "–")]));

export const card = (title, ...children) => h("section", { class: "card" }, h("h2", {}, title), children);
export const actions = (...buttons) => h("div", { class: "actions" }, buttons);
export const badge = (text, kind = "") => h("span", { class: `badge ${kind}` }, text);

// A secret is in the page only while it is shown.
export function secret(value, what) {
  if (!value) return "–";
  const dots = "••••••••";
  const shown = h("span", {}, dots);
  const toggle = button("Show", () => {
    const hidden = shown.textContent === dots;
    shown.textContent = hidden ? value : dots;
    toggle.textContent = hidden ? "Hide" : "Show";
    toggle.setAttribute("aria-label", `${hidden ? "Hide" : "Show"} ${what}`);
  });
  toggle.setAttribute("aria-label", `Show ${what}`);
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(value);
    notice(`${what} copied.`);
  });
  copy.setAttribute("aria-label", `Copy ${what}`);
  return h("span", { class: "secret" }, shown, toggle, copy);
}

export function notice(text) {
  const line = h("p", {}, text);
  document.getElementById("notices").append(line);
  setTimeout(() => line.remove(), 6000);
}

// Shows what `load` resolves to by `render`, and says so while it loads, fails (with a way to try again) or is empty.
export async function show(place, load, render, empty) {
  place.replaceChildren(h("p", { class: "state", role: "status" }, "Loading …"));
  try {
    const value = await load();
    const nothing = empty && Array.isArray(value) && value.length === 0;
    place.replaceChildren(...[nothing ? h("p", { class: "state" }, empty) : render(value)].flat());
  } catch (error) {
    const again = button("Try again", () => show(place, load, render, empty));
    place.replaceChildren(h("div", { class: "state error", role: "alert" }, h("p", {}, error.message), again));
  }
}

export const money = (value) => (value === null || value === undefined ? "–" : `$${Number(value).toFixed(2)}`);
export const count = (value) => (value === null || value === undefined ? "–" : Number(value).toLocaleString("en"));
const time = (value, format) => (value ? h("time", { datetime: value }, new Date(value).toLocaleString(undefined, format)) : "–");
export const moment = (value) => time(value, { dateStyle: "medium", timeStyle: "short" });
export const day = (value) => time(value, { dateStyle: "medium" });

// Text that is there to be copied.
export function snippet(text, what) {
  const copy = button("Copy", async () => {
    await navigator.clipboard.writeText(text);
    notice(`${what} copied.`);
  });
  copy.setAttribute("aria-label", `Copy ${what}`);
  return h("div", { class: "snippet" }, h("pre", {}, text), copy);
}
