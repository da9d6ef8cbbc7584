"""The life of a job under any interleaving of users, workers, kills and leases that run out."""

import asyncio
import tempfile
from pathlib import Path
from shutil import copy
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.stateful import run_state_machine_as_test as run
from stores import Clock

from llmgate.plugin.kit.job_states import Status, Wanted, ending_of
from llmgate.plugin.kit.jobs import LEASE_S
from llmgate.store import Store
from llmgate_platform.training.jobs import MAX_FAILURES, Job, Queue
from plugins.platform.rows import add_job, add_model

WORKERS = st.sampled_from(["a", "b", "c"])
STOPPED = 75
STATUSES = st.sampled_from([0, STOPPED, -9])
FOLLOWS = {
    Status.PENDING: {Status.RUNNING, Status.FAILED},
    # COMPLETED after PAUSED and PENDING: the trainer had finished before the pause reached it
    Status.RUNNING: {Status.PAUSED, Status.PENDING, Status.COMPLETED, Status.FAILED},
    Status.PAUSED: {Status.PENDING, Status.COMPLETED, Status.FAILED},
    Status.COMPLETED: set(),
    Status.FAILED: set(),
}
FINAL = (Status.COMPLETED, Status.FAILED)


class Machine(RuleBasedStateMachine):
    """One job. `held` is what each worker believes to hold; one may have been killed or frozen meanwhile."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        copy(self.template, Path(self.folder.name) / "gate.db")
        self.clock = Clock()
        self.runner = asyncio.Runner()
        self.context = Store.open(f"sqlite:///{self.folder.name}/gate.db", clock=self.clock)
        self.store = self.do(self.context.__aenter__())
        self.queue = Queue(self.store)
        self.do(add_model(self.store))
        self.job_id = self.do(add_job(self.queue)).id
        self.held: dict[str, Job] = {}
        self.attempt = 0
        self.shown = Status.PENDING
        self.progress = 0.0

    def do(self, work: Any) -> Any:
        return self.runner.run(work)

    def row(self) -> Job:
        return self.do(self.queue.by_id(self.job_id))  # type: ignore[no-any-return]

    @rule(wanted=st.sampled_from(Wanted))
    def somebody_asks(self, wanted: Wanted) -> None:
        before = self.row().state.shown
        accepted = self.do(self.queue.request(self.job_id, wanted))
        allowed = {
            Wanted.PAUSE: (Status.RUNNING,),
            Wanted.RESUME: (Status.PAUSED,),
            Wanted.CANCEL: (Status.PENDING, Status.RUNNING, Status.PAUSED),
        }[wanted]
        assert accepted == (before in allowed)
        if accepted:
            shown = {
                Wanted.PAUSE: Status.PAUSED, Wanted.RESUME: Status.PENDING, Wanted.CANCEL: Status.FAILED,
            }[wanted]  # fmt: skip
            assert self.row().state.shown is shown

    @rule(worker=WORKERS)
    def a_worker_looks_for_a_job(self, worker: str) -> None:
        job = self.do(self.queue.take(worker))
        if job is not None:
            assert job.attempt == self.attempt + 1
            self.attempt, self.held[worker] = job.attempt, job

    @precondition(lambda self: self.held)
    @rule(worker=WORKERS, step=st.integers(1, 100))
    def a_worker_reports(self, worker: str, step: int) -> None:
        if worker not in self.held:
            return
        mine = self.held[worker]
        self.progress = max(self.progress, float(step)) if self._current(mine) else self.progress
        reported = self.do(self.queue.report(mine, {"step": step, "progress": self.progress}))
        assert (reported is not None) == self._current(mine)
        if reported is None:
            del self.held[worker]
        else:
            self.held[worker] = reported

    @precondition(lambda self: self.held)
    @rule(
        worker=WORKERS,
        adapter=st.booleans(),
        status=st.sampled_from([0, STOPPED, -9]),
        why=st.none() | st.just("no"),
    )
    def a_trainer_ends(self, worker: str, adapter: bool, status: int, why: str | None) -> None:
        """What its worker makes of it; a second look where somebody asked for something meanwhile."""
        mine: Job | None = self.held.pop(worker, None)
        while mine is not None:
            how = {"has_result": adapter, "exit_status": status, "paused": STOPPED, "reason": why}
            how["max_failures"] = MAX_FAILURES
            end = ending_of(mine.state.wanted, **how, failures=mine.failures)  # type: ignore[arg-type]
            current = self._current(mine)
            if self.do(self.queue.end(mine, end, [end.log])) is not None:
                assert current
                return
            mine = self.do(self.queue.report(mine, {}))

    @rule(seconds=st.sampled_from([1.0, LEASE_S - 1, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.clock.pass_by(seconds)

    def _current(self, mine: Job) -> bool:
        row = self.row()
        return row.attempt == mine.attempt and row.state.status is Status.RUNNING

    @invariant()
    def what_is_shown_follows(self) -> None:
        row = self.row()
        shown = row.state.shown
        ways, reached = {self.shown}, {self.shown}
        for _ in FOLLOWS:  # several steps of the table may lie between two looks
            ways = {after for before in ways for after in FOLLOWS[before]}
            reached |= ways
        assert shown in reached
        assert self.shown not in FINAL or shown is self.shown
        self.shown = shown

    @invariant()
    def a_row_is_whole(self) -> None:
        row = self.row()
        assert row.state.wanted is None or row.state.status is Status.RUNNING
        assert (row.completed_at is not None) == (row.state.status in FINAL)
        assert (row.result_model_id is not None) == (row.state.status is Status.COMPLETED)
        assert (row.error is not None) == (row.state.status is Status.FAILED)
        assert row.failures <= MAX_FAILURES
        assert (row.worker is not None) == (row.state.status is Status.RUNNING)
        assert row.progress >= self.progress

    @invariant()
    def one_worker_holds_it(self) -> None:
        assert sum(self._current(job) for job in self.held.values()) <= 1

    def teardown(self) -> None:
        """Whatever happened: a worker that goes on brings it to an end, unless it is paused."""
        self.clock.pass_by(LEASE_S + 1)
        job = self.do(self.queue.take("last"))
        if job is not None:
            end = ending_of(
                None,
                has_result=True,
                exit_status=0,
                paused=STOPPED,
                reason=None,
                failures=job.failures,
                max_failures=MAX_FAILURES,
            )
            assert self.do(self.queue.end(job, end, [])).status == "COMPLETED"
        assert self.row().state.status in (Status.PAUSED, *FINAL)
        self.do(self.context.__aexit__(None, None, None))
        self.runner.close()
        self.folder.cleanup()


def test_a_job_under_users_workers_kills_and_time(migrated_platform: Path, tmp_path: Path) -> None:
    machine = type("Machine", (Machine,), {"template": migrated_platform})
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    run(
        machine,
        settings=settings(
            max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=checks
        ),
    )
