"""What is asked of an upstream here: a replica that answers, and the headers that it wants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class _Origin(Protocol):
    @property
    def url(self) -> str:
        """The root of the replica, without a slash at its end."""


class _Replica(Protocol):
    @property
    def origin(self) -> _Origin:
        """Where it listens."""


class Upstream(Protocol):
    """The part of `proxy.upstreams.Upstream` that reading lists and counting tokens need."""

    @property
    def name(self) -> str:
        """Its name in gate.toml."""

    def any_ready(self) -> _Replica | None:
        """A replica that takes requests now, if there is one."""

    def own_headers(self) -> Mapping[bytes, bytes]:
        """The gate's own credential for the backend."""
