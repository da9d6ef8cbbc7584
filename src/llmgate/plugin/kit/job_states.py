"""The states of a long job, as data: what may be asked for when, and what the end of its process means.

A job is held by a worker while its status is RUNNING; what the API wants of it meanwhile is in `wanted`. So a row
says what is, and `shown` what users see: a pause shows at once, while the process still ends the step it is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

CANCELLED = "cancelled"


class Status(StrEnum):
    """As the API spells it."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class Wanted(StrEnum):
    """What is asked of the worker that holds a job. RESUME: it was to pause, and goes on when it has."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class State:
    """What a row says."""

    status: Status
    wanted: Wanted | None = None

    @property
    def shown(self) -> Status:
        """What users see."""
        if self.status is not Status.RUNNING or self.wanted is None:
            return self.status
        return {Wanted.PAUSE: Status.PAUSED, Wanted.RESUME: Status.PENDING, Wanted.CANCEL: Status.FAILED}[
            self.wanted
        ]


PENDING, PAUSED = State(Status.PENDING), State(Status.PAUSED)
COMPLETED, FAILED = State(Status.COMPLETED), State(Status.FAILED)
RUNNING = State(Status.RUNNING)
PAUSING, RESUMING, CANCELLING = (State(Status.RUNNING, wanted) for wanted in Wanted)

UNFINISHED = (Status.PENDING, Status.RUNNING, Status.PAUSED)

REQUESTS: Mapping[Wanted, Mapping[State, State]] = {
    Wanted.PAUSE: {RUNNING: PAUSING},
    Wanted.RESUME: {PAUSED: PENDING, PAUSING: RESUMING},
    Wanted.CANCEL: {
        PENDING: FAILED,
        PAUSED: FAILED,
        RUNNING: CANCELLING,
        PAUSING: CANCELLING,
        RESUMING: CANCELLING,
    },
}
"""What each request makes of the states in which it may be made."""

ABANDONED: Mapping[State, State] = {PAUSING: PAUSED, RESUMING: PENDING, CANCELLING: FAILED}
"""What becomes of a job whose worker has gone with something still wanted of it."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a job is when its process has ended; `log` is a line for its user."""

    state: State
    log: str
    error: str | None = None
    failures: int = 0


def ending_of(
    wanted: Wanted | None,
    *,
    has_result: bool,
    exit_status: int,
    paused: int,
    reason: str | None,
    failures: int,
    max_failures: int,
    what: str = "process",
) -> Ending:
    """What the end of a job's process means; `what` is what its user calls that.

    `has_result`: the result is there, which says more than the exit status: a signal after it makes that lie.
    `paused`: the exit status of one that wrote down where it is. `reason`: what it said before it failed.
    `failures`: deaths until now, of which `max_failures` are one too many.
    """
    if wanted is Wanted.CANCEL:
        return Ending(FAILED, "Cancelled.", CANCELLED, failures)
    if has_result:
        return Ending(COMPLETED, "Finished.", None, failures)
    if reason is not None:
        return Ending(FAILED, reason, reason, failures)
    if wanted is not None:
        return Ending(ABANDONED[State(Status.RUNNING, wanted)], "Paused.", None, failures)
    if exit_status == paused:
        return Ending(PENDING, "Interrupted: its worker was stopped.", None, failures)
    return _death(f"The {what} {_how(exit_status)}.", failures + 1, max_failures)


def _death(died: str, failures: int, max_failures: int) -> Ending:
    if failures < max_failures:
        return Ending(PENDING, f"{died} It goes on from its last checkpoint.", None, failures)
    error = f"{died} It was tried {max_failures} times."
    return Ending(FAILED, error, error, failures)


def _how(exit_status: int) -> str:
    if exit_status in (-9, 137):  # 137: as a shell or a container says it
        return "was killed, which is what the system does when memory runs out"
    if exit_status < 0:
        return f"was ended by signal {-exit_status}"
    return f"ended with status {exit_status} and no result"
