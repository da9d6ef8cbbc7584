"""The states of a job: what may be asked for when, and what the end of its process means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.plugin.kit.job_states import (
    ABANDONED,
    CANCELLED,
    COMPLETED,
    FAILED,
    PAUSED,
    PENDING,
    REQUESTS,
    RUNNING,
    Ending,
    State,
    Status,
    Wanted,
    ending_of,
)

PAUSED_STATUS = 75
MAX_FAILURES = 3


def ended(wanted: Wanted | None = None, **how: object) -> Ending:
    defaults = {"has_result": False, "exit_status": 0, "paused": PAUSED_STATUS, "reason": None, "failures": 0}
    own = {"max_failures": MAX_FAILURES, "what": "trainer"}
    return ending_of(wanted, **{**defaults, **own, **how})  # type: ignore[arg-type]


def test_a_pause_shows_at_once() -> None:
    assert REQUESTS[Wanted.PAUSE][RUNNING].shown is Status.PAUSED


def test_a_resume_before_the_trainer_has_ended_queues_the_job() -> None:
    resuming = REQUESTS[Wanted.RESUME][REQUESTS[Wanted.PAUSE][RUNNING]]
    assert resuming.shown is Status.PENDING
    assert ended(resuming.wanted, exit_status=PAUSED_STATUS).state == PENDING


@pytest.mark.parametrize("wanted", Wanted)
def test_requests_are_refused_once_a_job_is_finished(wanted: Wanted) -> None:
    assert not {COMPLETED, FAILED} & REQUESTS[wanted].keys()


def test_the_result_says_more_than_the_exit_status() -> None:
    """A signal that comes when the trainer has finished makes that lie."""
    assert ended(exit_status=-15, has_result=True).state == COMPLETED
    assert ended(Wanted.PAUSE, exit_status=PAUSED_STATUS, has_result=True).state == COMPLETED


def test_a_stopped_worker_puts_its_job_back() -> None:
    assert ended(exit_status=PAUSED_STATUS) == Ending(PENDING, "Interrupted: its worker was stopped.")


def test_a_reason_of_the_trainers_own_is_final() -> None:
    assert ended(exit_status=1, reason="no") == Ending(FAILED, "no", "no")
    assert ended(Wanted.PAUSE, exit_status=1, reason="no").state == FAILED


def test_a_trainer_that_dies_three_times_is_given_up() -> None:
    first = ended(exit_status=-9)
    assert (first.state, first.failures) == (PENDING, 1)
    assert "memory runs out" in first.log
    last = ended(exit_status=-11, failures=MAX_FAILURES - 1)
    assert (last.state, last.failures) == (FAILED, MAX_FAILURES)
    assert last.error == "The trainer was ended by signal 11. It was tried 3 times."
    assert ended(exit_status=0).log.startswith("The trainer ended with status 0 and no result.")


def test_who_cancels_gets_no_result() -> None:
    assert ended(Wanted.CANCEL, has_result=True) == Ending(FAILED, "Cancelled.", CANCELLED)


@given(st.sampled_from([None, *Wanted]), st.booleans(), st.integers(-15, 255), st.none() | st.just("no"))
def test_every_end_leaves_a_state_that_nobody_holds(
    wanted: Wanted | None, has_result: bool, exit_status: int, reason: str | None
) -> None:
    end = ended(wanted, has_result=has_result, exit_status=exit_status, reason=reason)
    assert end.state in (PENDING, PAUSED, COMPLETED, FAILED)
    assert (end.error is not None) == (end.state == FAILED)
    if wanted is not None and not has_result and reason is None:  # the same as if its worker had died
        assert end.state == ABANDONED[State(Status.RUNNING, wanted)]
