"""What plugins' settings say that is good for trying and not for strangers.

A settings class says so itself, by a method `warnings(public: bool)` that yields a key and a message; a field
`registration` that is "open" means that anybody may make an account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ..config import convert_table, located
from ..config.warnings import is_public
from .loader import load_plugin

if TYPE_CHECKING:
    from pathlib import Path

    from ..config import Config, Route


def warnings_of(config: Config) -> list[str]:
    """One line for each thing: its place in gate.toml, and what to write. Raises `ConfigError` for bad settings."""
    found = []
    open_ones = []
    for name, table in config.plugins.items():
        settings = convert_table(load_plugin(name).settings, table.settings, f"plugins.{name}")
        public = is_public(config, table.listen)
        warnings = getattr(settings, "warnings", None)
        if warnings is not None:
            found += [f"plugins.{name}.{key}: {message}" for key, message in warnings(public)]
        if getattr(settings, "registration", None) == "open":
            open_ones.append(name)
            if public and not _registers_slowly(config, name):
                found.append(
                    f"plugins.{name}.registration: nothing bounds how many accounts one stranger makes: add "
                    f'[[limits]] with per = "ip" and routes = ["{name}"]'
                )
    if open_ones:
        found += _unbounded(config, open_ones)
    return found


def _registers_slowly(config: Config, plugin: str) -> bool:
    """Whether requests to the plugin are limited by something that a new account does not have anew."""
    bounding = ("ip", "route", "gate")
    return any(
        limit.per in bounding
        and limit.requests is not None
        and (not limit.routes or _names(limit.routes, plugin))
        for limit in config.limits
    )


def _names(routes: Iterable[str], plugin: str) -> bool:
    return any(route.partition(".")[0] == plugin for route in routes)


def told_at_start(path: Path, config: Config, warnings: Iterable[str]) -> list[str]:
    """What whoever begins to serve the gate.toml at `path` is told: the file's `warnings`, and those of its plugins."""
    return located(path, [*warnings, *warnings_of(config)])


def _unbounded(config: Config, open_ones: list[str]) -> Iterator[str]:
    """Routes on which whoever registers may spend without end."""
    for index, route in enumerate(config.routes):
        if (
            route.allow
            and route.authentication == "required"
            and not route.roles
            and not _bounded(config, route)
        ):
            yield (
                f"routes[{index}]: anybody may register ({', '.join(open_ones)}), and no quota bounds what they "
                'use here: add [[quotas]], or registration = "closed"'
            )


def _bounded(config: Config, route: Route) -> bool:
    if "quota" not in route.middleware:
        return False
    return any(quota.upstream in (None, route.upstream) and quota.model is None for quota in config.quotas)
