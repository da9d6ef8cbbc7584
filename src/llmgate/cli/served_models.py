"""What `llmgate check --live` says of models: those that nobody serves, and names that mean two."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..config import Config, Route

SHOWN = 5


class Findings(Protocol):
    """Where findings go (see `check`)."""

    warnings: list[str]
    problems: list[str]


Lists = Mapping[str, Collection[str]]
"""What each upstream says it serves; nothing where it has not said."""


def check_models(config: Config, lists: Lists, findings: Findings) -> None:
    """Compare [[models]], and the names that routes of several upstreams give, with the real lists."""
    findings.problems += [*_missing_targets(config, lists), *_served_by_nobody(config, lists)]
    findings.warnings += _shadowed(config, lists)


def _missing_targets(config: Config, lists: Lists) -> Iterator[str]:
    for index, model in enumerate(config.models):
        for key in ("targets", "fallbacks"):
            for number, target in enumerate(getattr(model, key)):
                served = lists.get(target.upstream)
                name = target.model or ("" if "*" in model.name else model.name)
                if served and name and name not in served:
                    place = f"models[{index}].{key}[{number}]"
                    yield f'{place}: upstreams.{target.upstream} serves no "{name}" (but: {_some(served)})'


def _served_by_nobody(config: Config, lists: Lists) -> Iterator[str]:
    """Of a route of several upstreams, each of which has shown its list."""
    for index, route in enumerate(config.routes):
        if len(route.served_by) < 2 or not all(lists.get(name) for name in route.served_by):
            continue
        known = _known(config, route, lists)
        for key, names in (
            ("models", route.models or ()),
            ("default_model", filter(None, [route.default_model])),
        ):
            for name in names:
                if not any(fnmatchcase(name, each) for each in known):
                    yield f'routes[{index}].{key}: nobody serves "{name}" (but: {_some(known)})'


def _known(config: Config, route: Route, lists: Lists) -> set[str]:
    known = {name for upstream in route.served_by for name in lists[upstream]}
    known |= {alias for upstream in route.served_by for alias in config.upstreams[upstream].models}
    for model in config.models:
        if any(target.upstream in route.served_by for target in model.targets):
            known |= {model.name, *model.aliases}
    return known


def _shadowed(config: Config, lists: Lists) -> Iterator[str]:
    """A name of [[models]] that an upstream beside its targets has for a model of its own."""
    for index, model in enumerate(config.models):
        targets = {target.upstream for target in (*model.targets, *model.fallbacks)}
        beside = [route.served_by for route in config.routes if targets & {*route.served_by}]
        for upstream in sorted({name for served in beside for name in served} - targets):
            for name in (model.name, *model.aliases):
                if name in lists.get(upstream, ()):
                    also = f"is a model of upstreams.{upstream}, too"
                    yield f'models[{index}].name: "{name}" {also}: nobody reaches that one by this name'


def _some(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:SHOWN])
