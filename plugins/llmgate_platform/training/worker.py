"""A worker: takes jobs from the store, runs each in a trainer's process, and reports. No torch in here.

A worker that is stopped lets its trainer write a checkpoint and puts the job back. One that is killed takes its
trainer with it; the next worker goes on from the last checkpoint. While the store is away, the trainer goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from llmgate.plugin.api import StoreError, extra_remedy
from llmgate.plugin.kit.child import Child, running
from llmgate.plugin.kit.job_states import CANCELLED, COMPLETED, FAILED, Ending, Wanted, ending_of

from ..artifacts import PROGRAM, SPEC
from .jobs import MAX_FAILURES
from .progress import Progress
from .trainer import PAUSED

if TYPE_CHECKING:
    from ..artifacts import Artifacts
    from .jobs import Job, Queue

log = logging.getLogger("llmgate.platform.worker")

REPORT_INTERVAL_S = 1.0
CHECK_INTERVAL_S = 60.0
STOP_WITHIN_S = 120.0
"""For how long a trainer that was asked to stop may go on with its step."""
STDERR_SHOWN = 4_000
NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors")

TRAINER = Path(__file__).with_name("trainer.py")

T = TypeVar("T")
SpecOf = Callable[["Job"], Awaitable[Mapping[str, Any]]]
"""What the trainer is told of a job: `base`, `dataset` and the rest of its `Spec`. Raises `Untrainable`."""


class Untrainable(Exception):
    """A job that cannot be trained: why, for its user."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How trainers are started: `launcher`, then `python` with the trainer's file and its specification.

    In `launcher`, `{job}`, `{attempt}` and `{folder}` stand for the job's id, the number of this attempt at it, and the
    folder of that, which has all that the trainer reads and writes but data sets and bases. `checked`: what `python`
    lacks can be seen from here; behind docker or srun it cannot.
    """

    python: str
    launcher: Sequence[str] = ()
    trainer: Path = TRAINER
    checked: bool = True

    def command(self, job: Job, folder: Path) -> list[str]:
        """The whole command, with nothing in it that a user has written."""
        values = {"{job}": str(job.id), "{attempt}": str(job.attempt), "{folder}": str(folder)}
        launcher = [
            reduce(lambda word, item: word.replace(*item), values.items(), word) for word in self.launcher
        ]
        return [*launcher, self.python, str(folder / PROGRAM), str(folder / SPEC)]

    async def problem(self) -> str | None:
        """What is missing for training."""
        if not self.checked:
            return None
        code = f"import importlib.util as u; print(*(n for n in {NEEDED!r} if u.find_spec(n) is None))"
        try:
            child = await asyncio.create_subprocess_exec(
                self.python, "-c", code, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
            )
        except OSError:
            return "train_python is no Python that can be run."
        missing = (await child.communicate())[0].decode().split()
        if child.returncode:
            return "train_python is no Python that can be run."
        if missing:
            return f"{', '.join(missing)} is not installed: {extra_remedy('training')}."
        return None


class Worker:
    """See the module's text. `name` has to be unique; `sleep` and `timer` are those of asyncio and time."""

    def __init__(
        self,
        queue: Queue,
        artifacts: Artifacts,
        launch: Launch,
        *,
        name: str,
        spec_of: SpecOf,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        report_every: float = REPORT_INTERVAL_S,
    ) -> None:
        self._queue = queue
        self._artifacts = artifacts
        self._launch = launch
        self._name = name
        self._spec_of = spec_of
        self._clock = clock
        self._timer = timer
        self._report_every = report_every
        self._stop = asyncio.Event()
        self._away = False

    def stop(self) -> None:
        """Take no more jobs, and put the one in work back with a checkpoint."""
        self._stop.set()

    async def run(self) -> None:
        """Work until `stop`."""
        problem, checked_at = await self._launch.problem(), self._timer()
        if problem is not None:
            log.warning("this worker cannot train: %s", problem)
        while not self._stop.is_set():
            if self._timer() - checked_at >= CHECK_INTERVAL_S:
                problem, checked_at = await self._launch.problem(), self._timer()
            job = None
            try:
                await self._queue.heartbeat(self._name, problem)
                if problem is None:
                    job = await self._queue.take(self._name)
                if job is None:
                    await self._sweep()
            except StoreError as error:
                self._note_away(error)
            if job is not None:
                await self.work(job)
            else:
                await self._pause()
        await self._insist(partial(self._queue.leave, self._name), tries=3)

    async def work(self, job: Job) -> None:
        """Train one job to an end."""
        log.info("job %d: attempt %d", job.id, job.attempt)
        progress = Progress(self._clock, epochs=job.epochs, progress=job.progress)
        if self._artifacts.adapter(job.id).exists():  # whoever had it before got that far
            await self._end(job, progress, lambda held: self._ending(held, progress, adapter=True))
            return
        try:
            await self._train(job, progress)
        except Untrainable as error:
            progress.reason = str(error)
            await self._end(job, progress, lambda held: self._ending(held, progress))
        except OSError as error:
            log.exception("job %d", job.id)
            progress.reason = (
                f"The trainer could not be started ({error.strerror}): the worker's log says where."
            )
            await self._end(job, progress, lambda held: self._ending(held, progress))

    async def _train(self, job: Job, progress: Progress) -> None:
        spec = await self._spec_of(job)
        home = await asyncio.to_thread(self._artifacts.begin, job, spec, self._launch.trainer)
        command, stderr = self._launch.command(job, home), home / "stderr.log"
        async with running(command, log=stderr) as trainer:
            held = await self._follow(job, trainer, progress)
            if held is None:
                log.warning("job %d: another worker has it", job.id)
                return
            exit_status = PAUSED if progress.paused else await trainer.wait()

        def ending(held: Job) -> Ending:
            adapter = held.state.wanted is not Wanted.CANCEL and self._artifacts.finish(held, home)
            return self._ending(held, progress, adapter=adapter, exit_status=exit_status)

        end = ending(held)
        if end.error not in (None, CANCELLED) or end.failures > job.failures:
            log.warning("job %d: %s\n%s", job.id, end.log, _tail(stderr))
        await self._end(held, progress, ending)

    async def _follow(self, job: Job, trainer: Child, progress: Progress) -> Job | None:
        """Report until the trainer has ended: the job as it is then; None if it is somebody else's."""
        held: Job | None = job
        values: dict[str, Any] = {}
        lines: list[str] = []
        stopped_at: float | None = None
        while True:
            await trainer.wait_at_most(self._report_every)
            ended = trainer.ended
            new, said = progress.add(trainer.take_events())
            new["spent"] = values.get("spent", 0.0) + new.get("spent", 0.0)
            values |= new
            lines += said
            try:
                held = await self._queue.report(job, values, lines)
                values, lines, self._away = {}, [], False
            except StoreError as error:  # the trainer goes on
                self._note_away(error)
            if held is None:
                return None
            if ended and not values:
                return held
            stopped_at = self._steer(held, trainer, stopped_at)

    def _steer(self, held: Job, trainer: Child, stopped_at: float | None) -> float | None:
        if held.state.wanted is Wanted.CANCEL:
            trainer.kill()
        elif stopped_at is None and (held.state.wanted is not None or self._stop.is_set()):
            trainer.stop()
            return self._timer()
        elif stopped_at is not None and self._timer() - stopped_at > STOP_WITHIN_S:
            trainer.kill()
        return stopped_at

    @staticmethod
    def _ending(held: Job, progress: Progress, *, adapter: bool = False, exit_status: int = 1) -> Ending:
        return ending_of(
            held.state.wanted,
            has_result=adapter,
            exit_status=exit_status,
            paused=PAUSED,
            reason=progress.reason,
            failures=held.failures,
            max_failures=MAX_FAILURES,
            what="trainer",
        )

    async def _end(self, job: Job, progress: Progress, ending: Callable[[Job], Ending]) -> None:
        """Let go of a job as `ending` says; anew, if the API wants something else of it in the meantime."""
        held: Job | None = job
        while held is not None:
            end = ending(held)
            ended = await self._insist(partial(self._queue.end, held, end, [progress.line(end.log)]))
            if ended is not None:
                log.info("job %d: %s", ended.id, ended.status)
                await self._clean_up(ended)
                return
            held = await self._insist(partial(self._queue.report, held, {}))

    async def _clean_up(self, ended: Job) -> None:
        if ended.state == COMPLETED:
            await asyncio.to_thread(self._artifacts.forget_attempts, ended.id)
        elif ended.state == FAILED:
            await asyncio.to_thread(self._artifacts.forget, ended.id)

    async def _sweep(self) -> None:
        """Remove the files of jobs that failed or were cancelled while nobody worked on them."""
        if present := await asyncio.to_thread(self._artifacts.jobs):
            for job_id in await self._queue.without_files(present):
                await asyncio.to_thread(self._artifacts.forget, job_id)

    async def _insist(self, work: Callable[[], Awaitable[T]], *, tries: int | None = None) -> T | None:
        """`work`, again and again while the store is away."""
        while True:
            try:
                return await work()
            except StoreError as error:
                self._note_away(error)
                if tries is not None:
                    tries -= 1
                    if tries <= 0:
                        return None
            await asyncio.sleep(self._report_every)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._report_every):
                await self._stop.wait()
        except TimeoutError:
            return

    def _note_away(self, error: StoreError) -> None:
        if not self._away:
            log.warning("waiting for the store: %s", error)
        self._away = True


def _tail(path: Path) -> str:
    try:
        return path.read_text(errors="replace")[-STDERR_SHOWN:]
    except OSError:
        return ""
