"""The folder that gate, workers and trainers share. Names in it are made of ids and hashes alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .training.jobs import Job

RESULT = "adapter"
SPEC = "spec.json"
PROGRAM = "trainer.py"


@dataclass(frozen=True, slots=True)
class Artifacts:
    """What lies where below `root`."""

    root: Path

    @property
    def bases(self) -> Path:
        """Models that were made of GGUF files for training."""
        return self.root / "bases"

    @property
    def datasets(self) -> Path:
        """A folder for each data set, with `train.jsonl` and `test.jsonl`."""
        return self.root / "datasets"

    @property
    def runs(self) -> Path:
        """A folder for each job: one below it for each attempt, and the result."""
        return self.root / "runs"

    def adapter(self, job_id: int) -> Path:
        """The result of a job; there once it is COMPLETED."""
        return self.runs / str(job_id) / RESULT

    def begin(self, job: Job, spec: Mapping[str, Any], program: Path) -> Path:
        """A folder for this attempt: `spec.json`, `trainer.py` and the newest whole checkpoint of those before.

        One of its own for each attempt: should a trainer still live whose worker was cut off, on another host,
        it cannot write into the files of its successor. `program` is copied, so that whatever runs the trainer has
        to see this folder and no installation of llmgate.
        """
        home = self.runs / str(job.id) / str(job.attempt)
        home.mkdir(parents=True)
        checkpoints = (mark.parent for mark in self.runs.glob(f"{job.id}/*/checkpoint-*/COMPLETE"))
        newest = max(checkpoints, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
        if newest is not None:
            shutil.copytree(newest, home / newest.name)
        (home / SPEC).write_text(json.dumps({**spec, "out": str(home), "bases": str(self.bases)}))
        shutil.copyfile(program, home / PROGRAM)
        return home

    def finish(self, job: Job, home: Path) -> bool:
        """Move the result of an attempt to where it stays; whether the job has one."""
        result = self.adapter(job.id)
        if not result.exists():
            with suppress(FileNotFoundError):
                (home / RESULT).rename(result)
        return result.exists()

    def forget_attempts(self, job_id: int) -> None:
        """Remove all of a job but its result."""
        for path in (self.runs / str(job_id)).glob("*"):
            if path.name != RESULT:
                shutil.rmtree(path, ignore_errors=True)

    def forget(self, job_id: int) -> None:
        """Remove all files of a job."""
        shutil.rmtree(self.runs / str(job_id), ignore_errors=True)

    def jobs(self) -> set[int]:
        """The ids of all jobs that have files."""
        return {int(path.name) for path in self.runs.glob("*") if path.name.isdecimal()}
