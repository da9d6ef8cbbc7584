"""The command line: `llmgate [--config gate.toml] COMMAND`.

Exit codes: 0 done; 1 what was asked for is not there or was refused; 2 a mistake in the command, in
gate.toml, or with the store. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import gc
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from .. import __version__
from ..errors import GateError, Refusal

COMMANDS = {
    "serve": "Serve the gate that gate.toml describes.",
    "check": "Say whether gate.toml can be served, and every problem if not.",
    "demo": "Serve a real small model through a gate made for trying.",
    "migrate": "Bring the store's tables to what this llmgate needs.",
    "routes": "List every method and path that the gate takes.",
    "user": "Add users, change them, and list them.",
    "org": "Add organizations, their members, and list them.",
    "key": "Create, list and revoke API keys.",
    "quota": "Set, show, reset and remove quotas.",
    "usage": "Show what was used, from the ledger: the total, groups, or single requests.",
    "reconcile": "Compare the ledger with what the upstreams count themselves, for a while.",
    "simulate": "Play the ledger's requests against another gate.toml.",
    "import": "Turn the configuration of another gateway into a gate.toml.",
    "backup": "Copy the store to a file, while the gate runs.",
    "conformance": "Send requests to the backend at URL directly and through a gate, and compare the answers.",
}
"""Every command and its summary; the module of the same name holds it, as `command`."""


class Commands(click.Group):
    """Loads a command's module only when it is asked for: `--help` need not wait for a database library."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, loaded now."""
        if cmd_name not in COMMANDS:
            return None
        # What a module defines stays: looking for garbage among it took a fifth of the time to load it all.
        gc.disable()
        try:
            command: click.Command = import_module(f".{cmd_name}", __name__).command
        finally:
            gc.freeze()
            gc.enable()
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The summaries, without loading what they are of."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of llmgate ends it with one line for each problem, and no traceback."""
        try:
            return super().invoke(ctx)
        except GateError as error:
            click.echo(str(error), err=True)
            ctx.exit(1 if isinstance(error, Refusal) else 2)


@click.group(cls=Commands)
@click.option(
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=Path("gate.toml"),
    envvar="LLMGATE_CONFIG",
    show_default=True,
    show_envvar=True,
    help="The gate.toml to work with.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context, path: Path) -> None:
    """A gate in front of large language models: keys, quotas, limits, exact accounting, metrics."""
    ctx.obj = path
