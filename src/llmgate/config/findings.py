"""How the rules between settings are judged.

A rule takes the whole config and one table of its type, and yields a place in that table, as `allow[1]` ("" for
the table itself), with what is wrong there. Rules read values only by looking into them, so one that depends on a
broken value is left out (see `read.Broken`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from .read import Unknowable

if TYPE_CHECKING:
    import msgspec

    from .schema import Config, Route

Finding = tuple[str, str]
Rule = Callable[["Config", Any], Iterator[Finding]]
Rules = Mapping[type, tuple[Rule, ...]]


def findings(rules: Rules, config: Config, tables: list[tuple[str, msgspec.Struct]]) -> Iterator[Finding]:
    """The place and message of each rule that the tables, given with their places, do not keep."""
    for place, table in tables:
        for rule in rules.get(type(table), ()):
            for key, message in judged(rule(config, table)):
                yield ".".join(filter(None, (place, key))), message


def judged(findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings up to where they depend on a broken value."""
    try:
        yield from findings
    except Unknowable:
        return


def addresses_of_route(config: Config, route: Route) -> tuple[object, ...]:
    """Where a route is served: at an address of its own, or at all of the gate's."""
    return config.gate.listen if route.listen is None else (route.listen,)
