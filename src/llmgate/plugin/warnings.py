"""What plugins' settings say that is good for trying and not for strangers.

A settings class says so itself, by a method `warnings(public: bool)` that yields a key and a message; a field
`registration` that is "open" means that anybody may make an account.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..config import convert_table
from ..config.warnings import is_public
from .loader import load_plugin

if TYPE_CHECKING:
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
    if open_ones:
        found += _unbounded(config, open_ones)
    return found


def _unbounded(config: Config, open_ones: list[str]) -> Iterator[str]:
    """Routes on which whoever registers may spend without end."""
    for index, route in enumerate(config.routes):
        if route.authentication == "required" and not route.roles and not _bounded(config, route):
            yield (
                f"routes[{index}]: anybody may register ({', '.join(open_ones)}), and no quota bounds what they "
                'use here: add [[quotas]], or registration = "closed"'
            )


def _bounded(config: Config, route: Route) -> bool:
    if "quota" not in route.middleware:
        return False
    return any(quota.upstream in (None, route.upstream) and quota.model is None for quota in config.quotas)
