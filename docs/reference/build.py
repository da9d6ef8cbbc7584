"""Writes the pages of docs/reference from the program itself: `make reference`.

Settings come from the types of gate.toml, metrics from their families, commands from the command line, routes
from what is let through by default. tests/docs/test_reference.py fails where a page and the program differ.
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import click

from llmgate import cli
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import endpoint_of
from llmgate.config import Setting, describe
from llmgate.config.schema import PUBLIC_API, Config
from llmgate.observability.metrics.families import FAMILIES

HERE = Path(__file__).parent
PLUGINS = HERE.parent.parent / "plugins"
NOTE = "<!-- Written by docs/reference/build.py: change the program, then run `make reference`. -->\n\n"

SETTINGS = """\
# Settings

`gate.toml`, table by table. `NAME` and `MODEL` are yours to choose; a table in two brackets may be written
several times. Times are seconds, sizes are bytes, prices and money are in a currency of your own. Paths start
in the folder of the file.

A secret, or an URL that holds one, is the value itself, `env:NAME` for an environment variable, or `file:PATH`
for what a file says. `llmgate check` reports all problems of a file at once, each with its place.
"""

METRICS = """\
# Metrics

What `GET /metrics` shows (`metrics.path`), in Prometheus' text format. Labels come from closed sets: `model` is
a name that gate.toml has, or else `other`; no label is ever a user or a key.

| metric | type | labels | |
|---|---|---|---|
"""

ROUTES = """\
# Routes

The gate answers these itself, on each of its addresses:

| | |
|---|---|
| `GET /healthz` | 200 while the process serves at all |
| `GET /readyz` | 200 while the ledger takes records and some upstream has a replica to ask; else 503. The body says \
how each of them stands |
| `GET /metrics` | [metrics](metrics.md), unless they have an address of their own (`metrics.listen`) |
| `GET /docs`, `GET /openapi.json` | [documentation](../guide/api-docs.md) of the plugins' APIs, where there are any |

A `[[routes]]` table lets through what its `allow` names, below its `path`. Without `allow` that is the public
API of OpenAI and vLLM. What has something in the second column is [accounted](../guide/accounting.md):

| operation | accounted as |
|---|---|
"""

ROUTES_END = """
Everything else is 404, or 405 with `Allow` where the path is there for another method. HEAD goes where GET goes.
`GET /models/{id}` is answered from the upstream's list, since vLLM does not answer it.

`llmgate routes` prints the whole table of a gate.toml, operations of plugins included. What those do, their
pages say:"""


def settings() -> str:
    """Every key of gate.toml."""
    tables: defaultdict[str, list[Setting]] = defaultdict(list)
    for setting in describe(Config):
        tables[setting.key.rpartition(".")[0]].append(setting)
    about = {setting.key: setting.description for keys in tables.values() for setting in keys}
    out = [SETTINGS]
    for place, keys in tables.items():
        if place:
            text = (
                about.get(place)
                or about.get(place.removesuffix("[]"))
                or about[place.partition(".")[0].removesuffix("[]")]
            )
            heading = f"[[{place[:-2]}]]" if place.endswith("[]") else f"[{place}]"
            out += [f"## `{heading}`\n", text, "\n| key | type | default | |\n|---|---|---|---|"]
            out += [_setting(setting) for setting in keys if setting.key not in tables]
            out.append("")
    return "\n".join(out)


def _setting(setting: Setting) -> str:
    default = f"`{setting.default}`" if len(setting.default) < 80 else "see [routes](routes.md)"
    return _row(f"`{setting.key.rpartition('.')[2]}`", setting.type, default, setting.description)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def metrics() -> str:
    """Every metric with its labels."""
    out = []
    for family in FAMILIES.values():
        name = family.name + ("_total" if family.kind == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in family.labels)
        out.append(_row(f"`{name}`", family.kind, labels, family.documentation))
    return METRICS + "\n".join(out) + "\n"


def commands() -> str:
    """Every command with its arguments and options."""
    out = ["# Commands", "", inspect.cleandoc(cli.__doc__ or ""), ""]
    for path, command in _commands("llmgate", cli.main):
        context = click.Context(command, info_name=path)
        usage = command.get_usage(context).removeprefix("Usage: ")
        out += [f"## `{path}`", "", inspect.cleandoc(command.help or ""), "", "```", usage, "```", ""]
        records = filter(None, (parameter.get_help_record(context) for parameter in command.params))
        options = [_row(f"`{name}`", " ".join(text.split())) for name, text in records if text]
        out += ["| option | |", "|---|---|", *options, ""] if options else []
    return "\n".join(out)


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (child := command.get_command(context, name)) is not None:
                yield from _commands(f"{path} {name}", child)


def routes() -> str:
    """What the gate answers itself, and what a route lets through if gate.toml does not say."""
    out = []
    for operation in PUBLIC_API:
        endpoint = endpoint_of(operation.method, operation.path)
        out.append(_row(f"`{operation}`", "" if endpoint is Endpoint.OTHER else endpoint))
    out.append(ROUTES_END)
    pages = sorted(page.parent.name for page in PLUGINS.glob("*/README.md"))
    out += [f"[{name}](../../plugins/{name}/README.md)," for name in pages]
    return ROUTES + "\n".join(out).removesuffix(",") + ".\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": settings,
    "metrics.md": metrics,
    "commands.md": commands,
    "routes.md": routes,
}


def build(page: str) -> str:
    """The text of one page."""
    return NOTE + PAGES[page]()


if __name__ == "__main__":
    for page in PAGES:
        (HERE / page).write_text(build(page))
