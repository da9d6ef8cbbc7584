"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import datetime as dt
import re
import sys
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import click

from ..errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")

SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def gate_file(work: Callable[Concatenate[Path, P], R]) -> Callable[P, R]:
    """Hand the path of gate.toml to `work`. Raises `ConfigError` if there is no such file."""

    @wraps(work)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        path: Path = click.get_current_context().obj
        if not path.exists():
            remedy = "name yours with --config or LLMGATE_CONFIG, or begin with `llmgate demo`"
            raise ConfigError([f"{path}: there is no such file: {remedy}"])
        return work(path, *args, **kwargs)

    return command


def only(**options: Any) -> tuple[str, Any]:
    """The name and value of the one option that was given. Raises `UsageError` for none or several."""
    given = [(name, value) for name, value in options.items() if value is not None]
    if len(given) != 1:
        raise click.UsageError(f"Give exactly one of {', '.join(f'--{name}' for name in options)}.")
    return given[0]


class Moment(click.ParamType[float]):
    """A time as 2026-01-31, 2026-01-31T12:00 (UTC unless it says otherwise), or 7d for seven days ago.

    The value is in seconds since the epoch.
    """

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The moment that `value` names."""
        if match := re.fullmatch(r"([0-9]{1,6})([mhdw])", str(value)):
            return time.time() - int(match[1]) * SECONDS[match[2]]
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f'"{value}" is no time: write 2026-01-31, 2026-01-31T12:00, or 90m, 24h, 7d, 4w', param)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def password_option(work: Callable[..., R]) -> Callable[..., R]:
    """Give `work` a `password`: asked for at the terminal, read from stdin, or None.

    It has no place on the command line, where other users and the shell's history would see it.
    """

    @click.option(
        "--password-stdin", is_flag=True, help="Read the password from stdin, to its first line's end."
    )
    @click.option("--no-password", is_flag=True, help="No password: only keys, or other ways to sign in.")
    @wraps(work)
    def command(*args: Any, password_stdin: bool, no_password: bool, **kwargs: Any) -> R:
        if password_stdin and no_password:
            raise click.UsageError("--password-stdin and --no-password exclude each other.")
        kwargs["password"] = None if no_password else _password(from_stdin=password_stdin)
        return work(*args, **kwargs)

    return command


def _password(*, from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().removesuffix("\n").removesuffix("\r")
    if not _at_terminal():
        raise click.UsageError(
            "There is no terminal to ask for the password: use --password-stdin or --no-password."
        )
    password: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


def _at_terminal() -> bool:
    return sys.stdin.isatty()
