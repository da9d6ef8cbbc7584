// Regions: a backend for models and a PostgreSQL server for vectors. Secrets go in and never come out.
import { del, get, post, put } from "../api.js";
import { actions, attempt, badge, button, notice, show, table, tools } from "../dom.js";
import { confirmDialog, formDialog } from "../dialogs.js";

const FIELDS = [
  { name: "name", label: "Name", autocomplete: "off" },
  { name: "label", label: "Label", required: false, autocomplete: "off" },
  { name: "description", label: "Description", required: false },
  { name: "postgres_host", label: "PostgreSQL host", autocomplete: "off" },
  { name: "postgres_port", label: "PostgreSQL port", type: "number", value: 5432, min: 1, max: 65535 },
  { name: "postgres_admin_user", label: "PostgreSQL admin user", autocomplete: "off" },
  { name: "postgres_admin_password", label: "PostgreSQL admin password", type: "password", autocomplete: "new-password", secret: true },
  { name: "litellm_api_url", label: "Backend URL", help: "The root of the models' API, or route:NAME for a route of gate.toml.", autocomplete: "off" },
  { name: "litellm_api_key", label: "Backend key", type: "password", autocomplete: "new-password", secret: true },
  { name: "is_active", label: "Active", type: "checkbox", value: true },
  { name: "is_dedicated", label: "Dedicated to teams", type: "checkbox" },
];

const fieldsOf = (region) =>
  FIELDS.map(({ secret, ...field }) => ({
    ...field,
    value: region ? region[field.name] : field.value,
    ...(region && secret && { required: false, value: "", help: "Leave it empty to keep the present one." }),
  }));

function edit(region, refresh) {
  formDialog({
    title: region ? `Change ${region.name}` : "Create Region",
    submit: region ? "Save" : "Create Region",
    fields: fieldsOf(region),
    onSubmit: async (entered) => {
      await (region ? put(`/regions/${region.id}`, entered) : post("/regions", entered));
      notice("The region is saved.");
      await refresh();
    },
  });
}

async function dedicate(region, refresh) {
  const [teams, mine] = await Promise.all([get("/teams"), get(`/regions/${region.id}/teams`)]);
  const has = new Set(mine.map((team) => team.id));
  formDialog({
    title: `Teams of ${region.name}`,
    submit: "Save",
    fields: teams.map((team) => ({ name: `team-${team.id}`, label: team.name, type: "checkbox", value: has.has(team.id) })),
    onSubmit: async (entered) => {
      for (const team of teams) {
        const wanted = entered[`team-${team.id}`];
        if (wanted !== has.has(team.id)) await (wanted ? post : del)(`/regions/${region.id}/teams/${team.id}`);
      }
      await refresh();
    },
  });
}

export default async function page(content) {
  const remove = (region) =>
    confirmDialog({
      title: `Delete ${region.name}?`,
      text: "No key can be made there any more. A region that has keys is not deleted.",
      onConfirm: async () => {
        await del(`/regions/${region.id}`);
        await refresh();
      },
    });
  const columns = [
    { label: "Name", value: (region) => region.label || region.name },
    { label: "PostgreSQL", value: (region) => `${region.postgres_host}:${region.postgres_port}` },
    { label: "Backend", value: (region) => region.litellm_api_url },
    { label: "State", value: (region) => [badge(region.is_active ? "active" : "inactive", region.is_active ? "good" : "bad"), " ", region.is_dedicated ? badge("dedicated") : ""] },
    {
      label: "Actions",
      value: (region) =>
        actions(
          button("Change", () => edit(region, refresh)),
          region.is_dedicated && button("Teams", attempt(() => dedicate(region, refresh))),
          button("Delete", () => remove(region), "danger"),
        ),
    },
  ];
  const refresh = () => show(content, () => get("/regions/admin"), (regions) => table("All regions", columns, regions), "There are no regions yet.");
  tools(button("Create Region", () => edit(null, refresh), "primary"));
  await refresh();
}
