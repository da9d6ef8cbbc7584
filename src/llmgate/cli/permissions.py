"""Options of `llmgate key` and `llmgate org` that say what a key, or all keys of an organization, may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from ..permissions import NOTHING_SAID, Permissions
from .output import Row

F = TypeVar("F", bound=Callable[..., Any])
DAY = 86_400

CLEARED: Mapping[str, str] = {
    "models": "models",
    "routes": "routes",
    "networks": "networks",
    "requests-per-minute": "requests_per_minute",
    "tokens-per-minute": "tokens_per_minute",
    "priority": "priority",
    "weight": "weight",
    "expiry": "expires_at",
}
"""What `--clear` takes, and the field that it stands for."""
_BESIDE = ("requests_per_minute", "expires_at")
"""Kept in columns of their own."""

_OPTIONS = (
    click.option(
        "--model",
        "models",
        multiple=True,
        metavar="PATTERN",
        help="A model that may be used, or llama-*.",
    ),
    click.option(
        "--route", "routes", multiple=True, metavar="PATTERN", help="A route or plugin that may be used."
    ),
    click.option(
        "--network", "networks", multiple=True, metavar="CIDR", help="Where it may be used from: 10.0.0.0/8."
    ),
    click.option("--requests-per-minute", type=int, metavar="N", help="Requests in a minute."),
    click.option("--tokens-per-minute", type=int, metavar="N", help="Tokens in a minute, in and out."),
    click.option(
        "--priority",
        type=int,
        metavar="CLASS",
        help="Class in a full engine's queue, -100 to 100: higher first.",
    ),
    click.option(
        "--weight", type=float, metavar="SHARE", help="Share of a full engine beside others; 1 is usual."
    ),
    click.option("--expires-in-days", type=click.FloatRange(0, 36_500, min_open=True), metavar="DAYS"),
)
END_USERS = click.option(
    "--names-end-users/--no-end-users",
    default=None,
    help="It acts for others, and says for whom: in the route's end_user_header, or the body's `user`.",
)
CLEAR = click.option(
    "--clear", "cleared", multiple=True, type=click.Choice(list(CLEARED)), help="As for everybody again."
)


def permission_options(command: F) -> F:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class Changes:
    """What a command line says: `beside` are values of columns of their own, None where one is cleared."""

    permissions: Mapping[str, object]
    beside: Mapping[str, Any]

    def of(self, permissions: Permissions | None) -> Permissions:
        """The permissions with the changes made. Raises `BadRequest`."""
        return (permissions or NOTHING_SAID).changed(dict(self.permissions))


def changes_of(
    now: float, *, cleared: Sequence[str] = (), expires_in_days: float | None = None, **given: Any
) -> Changes:
    """The changes that these options ask for at the time `now`. Raises `UsageError` for one that is set and cleared."""
    if expires_in_days is not None:
        given["expires_at"] = now + expires_in_days * DAY
    values = {name: value for name, value in given.items() if value not in (None, ())}
    for option in cleared:
        if CLEARED[option] in values:
            raise click.UsageError(f"--clear {option}: it is set on the same command line.")
        values[CLEARED[option]] = None
    beside = {name: values.pop(name) for name in _BESIDE if name in values}
    return Changes(values, beside)


def shown(permissions: Permissions | None) -> Row:
    """As rows of lists and JSON have them."""
    said = permissions or NOTHING_SAID
    return {
        "models": _listed(said.models),
        "routes": _listed(said.routes),
        "networks": _listed(said.networks),
        "tokens_per_minute": said.tokens_per_minute,
        "priority": said.priority,
        "weight": said.weight,
    }


def _listed(names: Sequence[str] | None) -> str | None:
    return None if names is None else ", ".join(names)
