"""The middleware stacks of a gate, as `llmgate check` and `llmgate routes` tell them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..gate.mounts import ProxyMount
from ..gate.router import claims_of
from ..gate.stack import Layer

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute

    from ..gate.application import Application
    from ..gate.build import Gate

MAX_NAMED = 3
"""Routes that are named beside a stack; of more, the number is told."""


@dataclass(frozen=True, slots=True)
class Stack:
    """One list of `Middleware`, from the outside in, by the names of its classes, and what stands inside of it.

    `routes` is empty for what stands around everything of an address.
    """

    address: str
    owner: str
    routes: list[str]
    middleware: list[str]

    def __str__(self) -> str:
        named = self.routes if len(self.routes) <= MAX_NAMED else [f"{len(self.routes)} routes"]
        what = f"{self.owner} ({', '.join(named)})" if named else self.owner
        return f"{what} on {self.address}: {', '.join(self.middleware)}"


def names_of(middleware: Iterable[Middleware]) -> list[str]:
    """What a list of `Middleware` is made of: classes by their names, a plugin's as gate.toml calls them."""
    return [
        each.name if isinstance(each, Layer) and "." in each.name else getattr(each.cls, "__name__", "?")
        for each in middleware
    ]


def stacks_of(gate: Gate) -> Iterator[Stack]:
    """Every stack of `gate`, once for each owner at each address that has it."""
    for address, app in gate.apps.items():
        if around := names_of(app.user_middleware):
            yield Stack(str(address), "everything", [], around)
        for (owner, names), routes in _grouped(app).items():
            yield Stack(str(address), owner, routes, [*names])


def _grouped(app: Application) -> dict[tuple[str, tuple[str, ...]], list[str]]:
    found = defaultdict[tuple[str, tuple[str, ...]], list[str]](list)
    for route in app.routes:
        if names := names_of(getattr(route, "middleware", ())):
            found[_owner(route), tuple(names)] += [
                f"{claim.method} {claim.path}" for claim in claims_of(route)
            ]
    return found


def _owner(route: BaseRoute) -> str:
    owner = str(getattr(route, "owner", "-")).partition(" (")[0]
    return f"{owner} {route.settings.name}" if isinstance(route, ProxyMount) else owner
