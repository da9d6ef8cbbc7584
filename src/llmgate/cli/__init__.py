"""The command line: `llmgate [--config gate.toml] COMMAND`; --config may stand behind the command, too.

Exit codes: 0 done; 1 what was asked for is not there or was refused; 2 a mistake in the command, in
gate.toml, or with the store. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import gc
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import click

from ..errors import ConfigError, GateError, Refusal
from ..version import __version__
from .streams import open_closed_streams

COMMANDS = {
    "serve": "Serve the gate that gate.toml describes.",
    "check": "Say whether gate.toml can be served, and every problem if not.",
    "demo": "Serve a real small model through a gate made for trying.",
    "migrate": "Bring the store's tables to what this llmgate needs.",
    "routes": "List every method and path that the gate takes.",
    "user": "Add users, change them, and list them.",
    "org": "Add and change organizations, their members, and list them.",
    "key": "Create, change, list and revoke API keys; bring those of LiteLLM along.",
    "quota": "Set, show, reset and remove quotas.",
    "usage": "Show what was used, from the ledger: the total, groups, or single requests.",
    "reconcile": "Compare the ledger with what the upstreams count themselves, for a while.",
    "simulate": "Play the ledger's requests against NEW.toml: who is refused, and what it costs.",
    "import": "Turn the configuration of another gateway into a gate.toml.",
    "backup": "Copy the store to a file, while the gate runs.",
    "conformance": "Send requests to the backend at URL directly and through a gate, and compare the answers.",
}
"""Every command and its summary; the module of the same name holds it, as `command`."""


EARLY_HANGUP = "llmgate.early_hangup"
"""Where the context of `serve` has what takes SIGHUP until the gate listens."""

PLUGIN_COMMANDS = "llmgate.commands"
"""The entry points that name commands of plugins."""


class Commands(click.Group):
    """Loads a command's module only when it is asked for: `--help` need not wait for a database library."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return [*COMMANDS, *sorted(_of_plugins())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded now."""
        if cmd_name not in COMMANDS:
            entry = _of_plugins().get(cmd_name)
            return None if entry is None else entry.load()
        if cmd_name == "serve":
            from .hangup import EarlyHangup  # noqa: PLC0415 - before what takes its time to load

            ctx.meta[EARLY_HANGUP] = EarlyHangup()
        # What a module defines stays: looking for garbage among it took a fifth of the time to load it all.
        gc.disable()
        try:
            command: click.Command = import_module(f".{cmd_name}", __name__).command
        finally:
            gc.freeze()
            gc.enable()
        _take_config(command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The summaries, without loading what they are of."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))
        if plugins := _of_plugins():
            with formatter.section("Commands of plugins"):
                formatter.write_dl(
                    [(name, f"Of {entry.module.partition('.')[0]}.") for name, entry in plugins.items()]
                )

    def main(self, *args: Any, **how: Any) -> Any:
        """See `click.Command`; with all standard streams."""
        open_closed_streams()
        return super().main(*args, **how)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of llmgate ends it with one line for each problem, and no traceback."""
        try:
            return super().invoke(ctx)
        except GateError as error:
            _report(error, ctx)
            ctx.exit(1 if isinstance(error, Refusal) else 2)


CONFIG_FILE = click.Path(path_type=Path)


def _take_config(command: click.Command) -> None:
    """Let `command`, and what is below it, take --config as well: people write it at either place."""
    if isinstance(command, click.Group):
        for below in command.commands.values():
            _take_config(below)
    if not any("--config" in parameter.opts for parameter in command.params):
        command.params.append(
            click.Option(
                ["--config"], type=CONFIG_FILE, expose_value=False, hidden=True, callback=_use_config
            )
        )


def _use_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is not None:
        root = ctx.find_root()
        given = root.get_parameter_source("path") is click.core.ParameterSource.COMMANDLINE
        if given and path != root.obj:
            raise click.UsageError(f"--config was given twice: {root.obj} and {path}.")
        root.obj = ctx.obj = path


def _report(error: GateError, ctx: click.Context) -> None:
    """One line for each problem; with the line of gate.toml that it is about, where there is one."""
    if isinstance(error, ConfigError):
        from ..config import located  # noqa: PLC0415 - `--help` need not load the settings

        for problem in located(ctx.find_root().obj, error.problems):
            click.echo(problem, err=True)
    else:
        click.echo(str(error), err=True)


def _of_plugins() -> dict[str, EntryPoint]:
    """The commands that plugins bring: click commands, whose context's `obj` is the path of gate.toml."""
    return {entry.name: entry for entry in entry_points(group=PLUGIN_COMMANDS)}


@click.group(cls=Commands)
@click.option(
    "--config",
    "path",
    type=CONFIG_FILE,
    default=Path("gate.toml"),
    envvar="LLMGATE_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The gate.toml to work with. It may stand behind the command, too.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context, path: Path) -> None:
    """A gate in front of large language models: keys, quotas, limits, exact accounting, metrics."""
    ctx.obj = path
