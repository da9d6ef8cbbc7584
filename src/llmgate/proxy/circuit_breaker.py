"""A circuit breaker: a replica that fails again and again gets no requests for a while, then one to try."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """After `failures` in a row a replica rests for `open_for` seconds; answers of `statuses` are failures.

    503 is not among them: it is what vLLM and others say while they have too much to do. Busy is not broken.
    """

    failures: int = 5
    open_for: float = 10.0
    statuses: frozenset[int] = frozenset({502, 504})


class Breaker:
    """A circuit breaker: closed, open for a time, then half-open, when one request or health check probes.

    `admit` says whether the request is the probe; exactly one of `succeeded`, `failed`, `abandoned` follows. While it
    is `at_rest`, closed and without failures, `ready` is true, and `admit` and `succeeded` would change nothing: who is
    in a hurry leaves them out.
    """

    __slots__ = ("_clock", "_failures", "_opened", "_probing", "at_rest", "settings")

    def __init__(self, settings: BreakerSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._clock = clock
        self._failures = 0
        self._opened: float | None = None
        self._probing = False
        self.at_rest = True

    @property
    def state(self) -> BreakerState:
        """Whether requests pass (closed), none does (open), or one may try (half_open)."""
        if self._opened is None:
            return "closed"
        return "open" if self.wait() > 0 else "half_open"

    def wait(self) -> float:
        """Seconds until a request may be tried."""
        if self._opened is None:
            return 0.0
        return max(0.0, self._opened + self.settings.open_for - self._clock())

    def ready(self) -> bool:
        """Whether `admit` would say yes."""
        return self._opened is None or (not self._probing and self.wait() == 0)

    def admit(self) -> bool:
        """A request goes out; returns whether it is the probe of a half-open breaker."""
        self._probing = self._opened is not None
        return self._probing

    def succeeded(self) -> None:
        """The replica answered."""
        self._failures = 0
        self._opened = None
        self._probing = False
        self.at_rest = True

    def failed(self, *, probe: bool) -> None:
        """It did not, or not usefully. Requests from before it opened do not keep it open for longer."""
        self._failures += 1
        self.at_rest = False
        if probe or (self._opened is None and self._failures >= self.settings.failures):
            self._opened = self._clock()
        self._probing = self._probing and not probe

    def abandoned(self, *, probe: bool) -> None:
        """The request was given up before an answer; nothing is known."""
        self._probing = self._probing and not probe

    def health_check_passed(self) -> None:
        """Close a half-open breaker: no caller need be the one who tries."""
        if self.state == "half_open":
            self.succeeded()
