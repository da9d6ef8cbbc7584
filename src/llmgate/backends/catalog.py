"""Which upstreams serve the model that a request asks for, and under which name.

A name is looked up in this order: `[[models]]` of gate.toml (names and aliases), the aliases of each upstream, the
lists that the upstreams give out themselves, patterns of `[[models]]`. Upstreams that serve the same model are one
pool. A route with a single upstream passes on what it does not know: that upstream is asked itself.

Nothing here does input or output: `live` says what is known of the upstreams' lists.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from types import MappingProxyType

from ..errors import NotFound, Unavailable
from ..words import Words

MAX_NAMED = 50
"""Models that the refusal of an unknown one lists."""
RESOLVED = 1024
"""Answers that are remembered: callers may ask for any name."""


class FallbackOn(Words):
    """Why the next target is tried; always before the first byte of an answer."""

    DOWN = "down"
    """No replica can be reached or answers."""
    BUSY = "busy"
    """429, 503 or 529: it has no room for the request now."""
    TIMEOUT = "timeout"
    """The first byte did not come in time."""
    CONTEXT = "context"
    """The prompt is too long for this model."""


USUAL = frozenset({FallbackOn.DOWN, FallbackOn.BUSY, FallbackOn.TIMEOUT})


@dataclass(frozen=True, slots=True)
class Target:
    """One place where a model is served: the upstream, the model's name there, and its share of the requests."""

    upstream: str
    model: str
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One of `[[models]]`. A target without a model (the empty text) is asked for the name that was asked for."""

    name: str
    targets: Sequence[Target]
    aliases: Sequence[str] = ()
    fallbacks: Sequence[Target] = ()
    fallback_on: frozenset[FallbackOn] = USUAL

    @property
    def is_pattern(self) -> bool:
        """Whether its name stands for many."""
        return "*" in self.name


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where a request may go: to one of `pool`, then to `fallbacks` in their order. `name` is the public name."""

    name: str
    pool: Sequence[Target]
    fallbacks: Sequence[Target] = ()
    fallback_on: frozenset[FallbackOn] = USUAL


Live = Callable[[str], Collection[str] | None]
"""The models that an upstream lists now; None while its list is not known."""


class Catalog:
    """The models of one route.

    `upstreams` are the route's, in order; `aliases` has for each of them the names of its own that clients use.
    `changed` is called for a number that is another one whenever a list may have changed.
    """

    def __init__(
        self,
        upstreams: Sequence[str],
        *,
        models: Sequence[ModelEntry] = (),
        aliases: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
        live: Live = lambda _: None,
        is_up: Callable[[str], bool] = lambda _: True,
        changed: Callable[[], int] = lambda: 0,
    ) -> None:
        self._upstreams = tuple(upstreams)
        self._entries = {
            name: entry for entry in models if not entry.is_pattern for name in (entry.name, *entry.aliases)
        }
        self._patterns = [entry for entry in models if entry.is_pattern]
        self._aliases = aliases
        self._live = live
        self._is_up = is_up
        self._changed = changed
        self._stamp = changed()
        self._resolved = lru_cache(RESOLVED)(self._resolve)

    def resolve(self, model: str) -> Resolution:
        """Where `model` is served.

        Raises `NotFound` (OpenAI's 404 `model_not_found`), which lists what there is, and `Unavailable` while the list
        of an upstream that may have it is not known.
        """
        if (stamp := self._changed()) != self._stamp:
            self._stamp = stamp
            self._resolved.cache_clear()
        return self._resolved(model)

    def public_name(self, model: str) -> str:
        """What callers call the model that `model` is an alias of; `model` itself where it is none."""
        entry = self._entries.get(model)
        return model if entry is None else entry.name

    def names(self) -> list[str]:
        """The public names of all models that are served now: gate.toml's, then those of the upstreams' lists."""
        return list(self.listed())

    def listed(self) -> dict[str, Target]:
        """Every public name, with a place where it is served now. Models of upstreams that are down are left out."""
        up = [upstream for upstream in self._upstreams if self._is_up(upstream)]
        found: dict[str, Target] = {}
        hidden: set[tuple[str, str]] = set()
        for entry in self._entries.values():
            hidden |= {(target.upstream, target.model) for target in entry.targets}
            at = next((one for one in (*entry.targets, *entry.fallbacks) if one.upstream in up), None)
            if at is not None:
                found.setdefault(entry.name, Target(at.upstream, at.model or entry.name))
        for upstream in up:
            aliases = self._aliases.get(upstream, {})
            hidden |= {(upstream, real) for real in aliases.values()}
            for alias, real in aliases.items():
                found.setdefault(alias, Target(upstream, real))
            for name in sorted(self._live(upstream) or ()):
                if (upstream, name) not in hidden:
                    found.setdefault(name, Target(upstream, name))
        return found

    def _resolve(self, model: str) -> Resolution:
        if (entry := self._entries.get(model)) is not None:
            return _of_entry(entry, model)
        if pool := tuple(self._aliased(model)) or tuple(self._listed(model)):
            return Resolution(model, pool)
        for entry in self._patterns:
            if fnmatchcase(model, entry.name):
                return _of_entry(entry, model)
        if len(self._upstreams) == 1:
            return Resolution(model, (Target(self._upstreams[0], model),))
        if silent := [upstream for upstream in self._upstreams if self._live(upstream) is None]:
            raise Unavailable(
                f"Which models {', '.join(silent)} serves is not known at the moment. Try again later.",
                headers=[(b"retry-after", b"5")],
            )
        raise unknown_model(model, self.names())

    def _aliased(self, model: str) -> Iterator[Target]:
        for upstream in self._upstreams:
            if (real := self._aliases.get(upstream, {}).get(model)) is not None:
                yield Target(upstream, real)

    def _listed(self, model: str) -> Iterator[Target]:
        for upstream in self._upstreams:
            if model in (self._live(upstream) or ()):
                yield Target(upstream, model)


def _of_entry(entry: ModelEntry, asked: str) -> Resolution:
    def real(targets: Sequence[Target]) -> tuple[Target, ...]:
        return tuple(Target(one.upstream, one.model or asked, one.weight) for one in targets)

    name = asked if entry.is_pattern else entry.name
    return Resolution(name, real(entry.targets), real(entry.fallbacks), entry.fallback_on)


def unknown_model(model: str, known: Collection[str]) -> NotFound:
    """OpenAI's refusal of a model that is not there, with what is."""
    listed = ", ".join(list(known)[:MAX_NAMED]) + (", ..." if len(known) > MAX_NAMED else "")
    hint = f" The models here: {listed}." if known else ""
    return NotFound(f"The model `{model}` does not exist.{hint}", code="model_not_found", param="model")


def order(
    resolution: Resolution, *, busy: Callable[[str], float], random: Callable[[], float]
) -> list[Target]:
    """The targets in the order in which they are tried: one of the pool first, the others of it, then the fallbacks.

    With weights the first one is drawn by them, `random` being in [0, 1); without, it is the one whose upstream is the
    least `busy` (requests in flight for each replica).
    """
    pool = list(resolution.pool)
    if len(pool) == 1 and not resolution.fallbacks:
        return pool
    if len(pool) > 1:
        first = (
            _drawn(pool, random())
            if any(target.weight is not None for target in pool)
            else _idlest(pool, busy)
        )
        pool.remove(first)
        rest = sorted((one for one in pool if one.weight != 0), key=lambda target: busy(target.upstream))
        pool = [first, *rest]
    return [*pool, *resolution.fallbacks]


def _drawn(pool: Sequence[Target], at: float) -> Target:
    weights = [1.0 if target.weight is None else target.weight for target in pool]
    left = at * sum(weights)
    for target, weight in zip(pool, weights, strict=True):
        left -= weight
        if left < 0:
            return target
    return pool[0]


def _idlest(pool: Sequence[Target], busy: Callable[[str], float]) -> Target:
    return min(pool, key=lambda target: busy(target.upstream))
