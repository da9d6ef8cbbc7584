"""What is asked of an upstream here: a replica that answers, and its answers."""

from __future__ import annotations

from typing import Any, Protocol


class Answer(Protocol):
    """A whole answer, of whatever status."""

    @property
    def status(self) -> int:
        """Its status."""

    def body(self) -> bytes:
        """What is in it. Raises `ValueError` for a status other than 2xx."""


class Upstream(Protocol):
    """The part of `proxy.upstreams.Upstream` that reading lists and counting tokens need."""

    @property
    def name(self) -> str:
        """Its name in gate.toml."""

    def any_ready(self) -> Any | None:
        """A replica that takes requests now, if there is one."""

    async def ask(self, replica: Any, path: str, *, timeout: float, body: bytes | None = None) -> Answer:
        """What `replica` answers to GET, or to POST with a JSON `body`. Raises `GateError` if it does not."""
