// Dialogs: a form whose errors stay in it, a question before something is lost, and a secret that is shown once.
import { h, button, secret } from "./dom.js";

let number = 0;

export function field({ name, label, type = "text", value, options, required = true, help, ...rest }) {
  const id = `field-${name}-${(number += 1)}`;
  if (type === "checkbox") {
    const box = h("input", { id, name, type, checked: Boolean(value) });
    return h("div", {}, h("label", { class: "inline", for: id }, box, label));
  }
  if (type === "radio") {
    const choice = ([key, text, more], index) =>
      h("label", { class: "inline" }, h("input", { type, name, value: key, checked: index === 0 }), h("span", {}, text, more && h("small", {}, more)));
    return h("fieldset", {}, h("legend", {}, label), options.map(choice));
  }
  const described = help && `${id}-help`;
  const shared = { id, name, required, "aria-describedby": described };
  const input =
    type === "select"
      ? h("select", shared, options.map(([key, text]) => h("option", { value: key, selected: String(key) === String(value) }, text)))
      : type === "textarea"
        ? h("textarea", { ...shared, rows: 3 }, value ?? "")
        : h("input", { ...shared, type, value, ...rest });
  return h("div", {}, h("label", { for: id }, label), input, help && h("p", { class: "help", id: described }, help));
}

export function values(form) {
  const result = {};
  for (const input of form.elements) {
    if (!input.name) continue;
    if (input.type === "checkbox") result[input.name] = input.checked;
    else if (input.type === "radio") result[input.name] = input.checked ? input.value : result[input.name];
    else if (input.type === "number") result[input.name] = input.value === "" ? null : Number(input.value);
    else result[input.name] = input.value;
  }
  return result;
}

// A form that sends once at a time and shows what was wrong beside its buttons.
export function form(fields, submit, onSubmit, { cancel } = {}) {
  const problem = h("p", { class: "error", role: "alert" });
  const send = h("button", { type: "submit", class: "primary" }, submit);
  const element = h(
    "form",
    {
      onsubmit: async (event) => {
        event.preventDefault();
        problem.textContent = "";
        send.disabled = true;
        send.setAttribute("aria-busy", "true");
        try {
          await onSubmit(values(element));
        } catch (error) {
          problem.textContent = error.message;
        } finally {
          send.disabled = false;
          send.removeAttribute("aria-busy");
        }
      },
    },
    fields.map(field),
    problem,
    h("div", { class: "buttons" }, cancel && button("Cancel", cancel), send),
  );
  return element;
}

function open(title, fill) {
  const id = `dialog-${(number += 1)}`;
  const dialog = h("dialog", { "aria-labelledby": id, onclose: () => dialog.remove() }, h("h2", { id }, title));
  dialog.append(...fill(() => dialog.close()));
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

export function formDialog({ title, fields, submit, onSubmit, intro }) {
  open(title, (close) => [
    intro ? h("p", {}, intro) : "",
    form(
      fields,
      submit,
      async (entered) => {
        await onSubmit(entered);
        close();
      },
      { cancel: close },
    ),
  ]);
}

// Asks before something is lost; `onConfirm` runs once, and what goes wrong is shown in the dialog.
export function confirmDialog({ title, text, action = "Delete", onConfirm }) {
  const problem = h("p", { class: "error", role: "alert" });
  open(title, (close) => {
    const yes = button(
      action,
      async () => {
        yes.disabled = true;
        try {
          await onConfirm();
          close();
        } catch (error) {
          problem.textContent = error.message;
        } finally {
          yes.disabled = false;
        }
      },
      "danger",
    );
    return [h("p", {}, text), problem, h("div", { class: "buttons" }, button("Cancel", close), yes)];
  });
}

export function secretDialog({ title, text, value, what }) {
  open(title, (close) => [h("p", {}, text), h("p", {}, secret(value, what)), h("div", { class: "buttons" }, button("Done", close, "primary"))]);
}
