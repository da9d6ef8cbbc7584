"""A worker and its trainer's process: what is asked for, what dies, and what is left on the disk."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from servers import until
from stores import Clock

from llmgate.errors import StoreError
from llmgate.plugin.kit.job_states import Wanted
from llmgate.plugin.kit.jobs import LEASE_S
from llmgate.store import Store
from llmgate_platform.artifacts import Artifacts
from llmgate_platform.training.jobs import Job, Queue
from llmgate_platform.training.worker import Launch, Untrainable, Worker
from plugins.platform.rows import add_job, add_model, eventually

SCRIPTED = Path(__file__).with_name("scripted_trainer.py")
LAUNCHER = Path(__file__).with_name("launcher.py")
REPORT_EVERY = 0.02


@pytest.fixture(autouse=True)
def nothing_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted trainer stands on nothing: these tests run without torch."""
    monkeypatch.setattr("llmgate_platform.training.worker.NEEDED", ())


@dataclass
class Bench:
    """A queue with one job, and workers for it. `scripts` says what its trainer does at each attempt."""

    queue: Queue
    artifacts: Artifacts
    launch: Launch = field(default_factory=lambda: Launch(sys.executable, trainer=SCRIPTED))
    scripts: list[list[str]] = field(default_factory=list)
    job_id: int = 1

    async def job(self) -> Job:
        job = await self.queue.by_id(self.job_id)
        assert job is not None
        return job

    async def until(self, good: Callable[[Job], bool]) -> Job:
        job = await eventually(self.job, good)
        assert isinstance(job, Job)
        return job

    @asynccontextmanager
    async def working(self, name: str = "w", queue: Queue | None = None) -> AsyncIterator[Worker]:
        worker = Worker(
            queue or self.queue,
            self.artifacts,
            self.launch,
            name=name,
            spec_of=self._spec_of,
            report_every=REPORT_EVERY,
        )
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            worker.stop()
            await task

    async def run(
        self, *script: str, until: Callable[[Job], bool] = lambda job: job.completed_at is not None
    ) -> Job:
        self.scripts.append(list(script))
        async with self.working():
            return await self.until(until)

    def files(self) -> list[str]:
        """What the artifacts hold of the job."""
        folder = self.artifacts.runs / str(self.job_id)
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())

    async def _spec_of(self, job: Job) -> Mapping[str, Any]:
        script = self.scripts[min(job.attempt, len(self.scripts)) - 1]
        if script == ["untrainable"]:
            raise Untrainable("Its data set is gone.")
        return {"script": script}


@pytest.fixture
async def bench(platform_store: Store, tmp_path: Path) -> Bench:
    queue = Queue(platform_store)
    await add_model(platform_store)
    await add_job(queue)
    return Bench(queue, Artifacts(tmp_path / "artifacts"))


def lines(job: Job) -> list[str]:
    return [line.partition("] ")[2] for line in job.logs.splitlines()]


async def test_a_job_is_trained_to_its_end(bench: Bench) -> None:
    job = await bench.run("step", "save", "step", "adapter", "0")
    assert (job.status, job.progress, job.current_loss, job.step, job.steps) == (
        "COMPLETED",
        100.0,
        2.8,
        2,
        10,
    )
    assert lines(job) == [
        "Training on CPU: 1 examples, from step 0 of 10 on.",
        "Epoch 1/2, step 1/10: loss 2.9000",
        "Checkpoint at step 1.",
        "Epoch 1/2, step 2/10: loss 2.8000",
        "Finished.",
    ]
    assert bench.files() == ["adapter/weights"]
    assert job.seconds == 3.0


async def test_the_adapter_counts_whatever_the_exit_status(bench: Bench) -> None:
    assert (await bench.run("adapter", "kill")).status == "COMPLETED"


async def test_a_paused_job_goes_on_where_it_was(bench: Bench) -> None:
    bench.scripts += [["step", "step", "wait"], ["step", "adapter", "0"]]
    async with bench.working():
        await bench.until(lambda job: job.step == 2)
        assert await bench.queue.request(1, Wanted.PAUSE)
        paused = await bench.until(lambda job: job.status == "PAUSED")
        assert lines(paused)[-2:] == ["Checkpoint at step 2.", "Paused."]
        assert await bench.queue.request(1, Wanted.RESUME)
        job = await bench.until(lambda job: job.status == "COMPLETED")
    assert (job.step, job.attempt, job.failures) == (3, 2, 0)
    assert "from step 2 of 10 on" in job.logs


async def test_cancelling_leaves_no_file(bench: Bench) -> None:
    bench.scripts.append(["step", "save", "hang"])
    async with bench.working():
        await bench.until(lambda job: job.step == 1)
        assert await bench.queue.request(1, Wanted.CANCEL)
        job = await bench.until(lambda job: job.completed_at is not None)
    assert (job.status, job.error) == ("FAILED", "cancelled")
    assert bench.artifacts.jobs() == set()


async def test_files_of_a_job_that_was_cancelled_while_it_was_paused_are_swept(bench: Bench) -> None:
    bench.scripts.append(["step", "wait"])
    async with bench.working():
        await bench.until(lambda job: job.step == 1)
        await bench.queue.request(1, Wanted.PAUSE)
        await bench.until(lambda job: job.status == "PAUSED")
        assert bench.artifacts.jobs() == {1}
        assert await bench.queue.request(1, Wanted.CANCEL)
        await until(lambda: not bench.artifacts.jobs())


async def test_a_killed_trainer_goes_on_from_its_last_checkpoint(bench: Bench) -> None:
    bench.scripts += [["step", "save", "step", "kill"], ["step", "adapter", "0"]]
    async with bench.working():
        job = await bench.until(lambda job: job.completed_at is not None)
    assert (job.status, job.step, job.attempt, job.failures) == ("COMPLETED", 2, 2, 1)
    assert "The trainer was killed, which is what the system does when memory runs out." in job.logs


async def test_a_trainer_that_dies_three_times_fails_its_job(bench: Bench) -> None:
    job = await bench.run("step", "kill")
    assert (job.status, job.attempt) == ("FAILED", 3)
    assert job.error is not None and job.error.endswith("It was tried 3 times.")
    assert bench.artifacts.jobs() == set()


async def test_a_failure_says_why_and_leaves_no_file(bench: Bench) -> None:
    job = await bench.run("step", "save", "fail")
    assert (job.status, job.error) == ("FAILED", "The loss is not finite.")
    assert lines(job)[-1] == "The loss is not finite."
    assert (job.result_model_id, bench.artifacts.jobs()) == (None, set())


async def test_a_job_that_cannot_be_trained_says_why(bench: Bench) -> None:
    job = await bench.run("untrainable")
    assert (job.status, job.error) == ("FAILED", "Its data set is gone.")


async def test_a_worker_that_is_stopped_puts_its_job_back(bench: Bench) -> None:
    bench.scripts += [["step", "wait"], ["adapter", "0"]]
    async with bench.working("first"):
        await bench.until(lambda job: job.step == 1)
    job = await bench.job()
    assert (job.status, job.worker, job.failures) == ("PENDING", None, 0)
    async with bench.working("second"):
        assert (await bench.until(lambda job: job.completed_at is not None)).step == 1


async def test_a_worker_that_was_cut_off_kills_its_trainer(bench: Bench, clock: Clock) -> None:
    """Another has the job: what the first one's trainer would make is nobody's."""
    bench.scripts.append(["step", "hang"])
    async with bench.working("first"):
        await bench.until(lambda job: job.step == 1)
        clock.pass_by(LEASE_S + 1)
        taken = await bench.queue.take("second")
        if taken is None:  # it reported in between
            clock.pass_by(LEASE_S + 1)
            taken = await bench.queue.take("second")
        assert taken is not None
    assert (await bench.job()).worker == "second"  # and the block above ended, so the trainer did


async def test_a_successor_takes_over_a_result_that_was_not_told_of(bench: Bench) -> None:
    """The first worker died between moving the adapter and saying so."""
    (bench.artifacts.adapter(1)).mkdir(parents=True)
    assert (await bench.run("fail")).status == "COMPLETED"


async def test_the_trainer_goes_on_while_the_store_is_away(bench: Bench, platform_store: Store) -> None:
    class Away(Queue):
        tries = 0

        async def report(self, *args: Any, **more: Any) -> Job | None:
            self.tries += 1
            if self.tries < 4:
                raise StoreError("away")
            return await super().report(*args, **more)

        async def end(self, *args: Any, **more: Any) -> Job | None:
            self.tries += 1
            if self.tries < 7:
                raise StoreError("away")
            return await super().end(*args, **more)

    bench.scripts.append(["step", "step", "adapter", "0"])
    async with bench.working(queue=Away(platform_store)):
        job = await bench.until(lambda job: job.completed_at is not None)
    assert (job.status, job.step, job.failures) == ("COMPLETED", 2, 0)


def launched(bench: Bench, tmp_path: Path) -> list[str]:
    """The trainer runs by a launcher of our own; what that has started, in the end."""
    words = [sys.executable, str(LAUNCHER), "llmgate-{job}-{attempt}", str(tmp_path / "log"), "--"]
    bench.launch = Launch(sys.executable, launcher=words, trainer=SCRIPTED, checked=False)
    return (tmp_path / "log").read_text().splitlines() if (tmp_path / "log").exists() else []


async def test_a_launcher_starts_the_trainer(bench: Bench, tmp_path: Path) -> None:
    """Whatever it prints in between, signals and stdin reach the trainer through it, each attempt by its own name."""
    launched(bench, tmp_path)
    bench.scripts += [["noise", "step", "wait"], ["adapter", "0"]]
    async with bench.working():
        await bench.until(lambda job: job.step == 1)
        await bench.queue.request(1, Wanted.PAUSE)
        await bench.until(lambda job: job.status == "PAUSED")
        await bench.queue.request(1, Wanted.RESUME)
        assert (await bench.until(lambda job: job.completed_at is not None)).status == "COMPLETED"
    runs = bench.artifacts.runs / "1"
    assert launched(bench, tmp_path) == [
        f"llmgate-1-{attempt} {sys.executable} {runs}/{attempt}/trainer.py {runs}/{attempt}/spec.json"
        for attempt in (1, 2)
    ]


async def test_a_launcher_s_exit_status_says_nothing_of_a_pause(bench: Bench, tmp_path: Path) -> None:
    """Workers come and go four times, and the launcher ends with 1 each time: no death is counted."""
    launched(bench, tmp_path)
    bench.scripts += [["step", "wait"]] * 4 + [["adapter", "0"]]
    for step in (1, 2, 3, 4):
        async with bench.working(f"w{step}"):
            await bench.until(lambda job, step=step: job.step == step)  # type: ignore[misc]
    async with bench.working("last"):
        job = await bench.until(lambda job: job.completed_at is not None)
    assert (job.status, job.failures, job.attempt) == ("COMPLETED", 0, 5)


async def test_what_a_launcher_has_started_ends_with_a_cancelled_job(bench: Bench, tmp_path: Path) -> None:
    """The signal reaches the launcher alone, whose trainer is in another session: the end of stdin reaches that."""
    launched(bench, tmp_path)
    bench.scripts.append(["pid", "step", "hang"])
    async with bench.working():
        await bench.until(lambda job: job.step == 1)
        pid = int((bench.artifacts.runs / "1/1/pid").read_text())
        await bench.queue.request(1, Wanted.CANCEL)
        await bench.until(lambda job: job.completed_at is not None)
    await until(lambda: not Path(f"/proc/{pid}").exists())
    assert bench.artifacts.jobs() == set()


async def test_a_launcher_that_is_not_there_fails_the_job(bench: Bench) -> None:
    bench.launch = Launch(sys.executable, launcher=["/no/such/launcher"])
    job = await bench.run("0")
    assert (
        job.error
        == "The trainer could not be started (No such file or directory): the worker's log says where."
    )


async def test_a_worker_without_the_packages_takes_no_job_and_says_what_is_missing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmgate_platform.training.worker.NEEDED", ("no_such_package",))
    async with bench.working():
        job = await bench.job()
        why = await eventually(lambda: bench.queue.waiting_for(job), lambda why: "none is running" not in why)
    assert why == (
        "Waiting for a worker that can train: "
        "no_such_package is not installed: run `pip install '.[training]'` in a checkout of llmgate."
    )
    assert (await bench.job()).status == "PENDING"


async def test_a_python_that_is_none_is_told(bench: Bench) -> None:
    assert await Launch("/no/such/python").problem() == "train_python is no Python that can be run."
    assert await Launch("/bin/false").problem() == "train_python is no Python that can be run."
