"""Metrics of plugins beside the gate's own: counters and histograms whose labels come from closed sets.

    made = gate.metrics.counter("reports_made", "Reports, by how they ended.", status=("done", "failed"))
    made.labels("done").inc()

What a label may say is declared; everything else is counted as `other`, so that no caller makes time series. The
workers of a host count together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Generic, TypeVar

from ...errors import ConfigError
from .families import SECONDS, Family
from .instruments import OTHER, Distribution, Number

if TYPE_CHECKING:
    from .instruments import Instruments

ChildT = TypeVar("ChildT", Number, Distribution)
NAME = re.compile(r"[a-z][a-z0-9_]*")


class Labelled(Generic[ChildT]):
    """One metric under all values of its labels."""

    def __init__(self, allowed: Collection[Collection[str]], child: Callable[..., ChildT]) -> None:
        self._allowed = [frozenset(values) for values in allowed]
        self._child: Callable[..., ChildT] = child
        self._children: dict[tuple[str, ...], ChildT] = {}

    def labels(self, *values: str) -> ChildT:
        """What counts under these values, in the order in which the labels were declared."""
        known = tuple(
            value if value in allowed else OTHER for value, allowed in zip(values, self._allowed, strict=True)
        )
        child = self._children.get(known)
        if child is None:
            child = self._children[known] = self._child(*known)
        return child


class PluginMetrics:
    """What `Services.metrics` is. A metric that is declared twice, after a reload or by two parts, is one.

    Each raises `ConfigError` for a name that is taken by another metric, or no name.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    def counter(self, name: str, documentation: str, **labels: Collection[str]) -> Labelled[Number]:
        """A counter, shown as `NAME_total`; `labels` are the values that each of its labels may have."""
        family = self._declared(Family("counter", name.removesuffix("_total"), documentation, tuple(labels)))
        return Labelled(labels.values(), lambda *values: self._instruments.number(family, *values))

    def histogram(
        self,
        name: str,
        documentation: str,
        *,
        bounds: tuple[float, ...] = SECONDS,
        **labels: Collection[str],
    ) -> Labelled[Distribution]:
        """A histogram with buckets up to each of `bounds`; the default is for seconds."""
        family = self._declared(Family("histogram", name, documentation, tuple(labels), bounds))
        return Labelled(labels.values(), lambda *values: self._instruments.distribution(family, *values))

    def _declared(self, family: Family) -> Family:
        if not NAME.fullmatch(family.name) or family.name.startswith("llmgate_"):
            raise ConfigError(
                [f"metric {family.name!r}: small letters, digits and _; llmgate_ is for the gate's own"]
            )
        if self._instruments.declare(family) != family:
            raise ConfigError([f"metric {family.name!r}: another plugin has one of this name"])
        return family
