"""One line of JSON per request: ids and numbers, never a key, a prompt or a password."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from starlette.types import Scope

    from ..exchange import Exchange


log = logging.getLogger("llmgate")


class Line(msgspec.Struct, omit_defaults=True):
    """What a line says. Durations are seconds; `at` is seconds since the epoch, when the answer ended."""

    at: float
    request_id: str
    route: str
    method: str
    path: str
    status: int
    duration: float
    first_byte: float | None = None
    user_id: int | None = None
    key_id: int | None = None
    upstream: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    certainty: str = ""
    refused: str | None = None
    complete: bool = True
    client: str = ""


class Out(Protocol):
    """Where lines go: a `LogWriter`, or a file."""

    def write(self, line: bytes, /) -> object:
        """Take a line."""

    def flush(self) -> object:
        """See that what was taken gets on."""


class AccessLog:
    """Writes lines to `out`, which should not keep us waiting; `flush` is called by whoever owns it, now and then.

    A line whose answer broke off, or never began, says `complete: false`; other values that say nothing
    are left out.
    """

    def __init__(self, out: Out, *, clock: Callable[[], float] = time.time) -> None:
        self._out = out
        self._clock = clock
        self._encoder = msgspec.json.Encoder()
        self._failing = False

    def write(self, scope: Scope, exchange: Exchange, ended: float) -> None:
        """Write the line of a request that ended at `ended` (seconds of the monotonic clock)."""
        principal, reading, client = exchange.principal, exchange.reading, scope.get("client")
        line = Line(
            at=_short(self._clock()),
            request_id=exchange.id,
            route=exchange.route,
            method=scope["method"],
            path=scope["path"],
            status=exchange.status,
            duration=_short(ended - exchange.started),
            first_byte=None
            if exchange.first_byte is None
            else _short(exchange.first_byte - exchange.started),
            user_id=principal.user_id if principal else None,
            key_id=principal.key_id if principal else None,
            upstream=exchange.upstream,
            model=exchange.model,
            input_tokens=reading.usage.input_tokens if reading else None,
            output_tokens=reading.usage.output_tokens if reading else None,
            certainty=str(reading.certainty) if reading else "",
            refused=exchange.refused,
            complete=exchange.complete,
            client=client[0] if client else "",
        )
        self._try(self._out.write, self._encoder.encode(line) + b"\n")

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        self._try(self._out.flush)

    def _try(self, work: Callable[..., object], *args: bytes) -> None:
        """A full disk or a reader that left costs lines, never a request; it is said once."""
        try:
            work(*args)
        except OSError as error:
            if not self._failing:
                log.warning("the access log cannot be written: %s", error)
            self._failing = True
        else:
            self._failing = False


def _short(seconds: float) -> float:
    """To the microsecond; `round` takes seven times as long."""
    return int(seconds * 1e6) / 1e6
