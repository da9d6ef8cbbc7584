"""The shared folder: an attempt has all it needs, the result stays, and names are made of ids alone."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from llmgate_platform.artifacts import Artifacts

PROGRAM = "print('trains')\n"


def job(attempt: int) -> Any:
    return SimpleNamespace(id=7, attempt=attempt)


@pytest.fixture
def artifacts(tmp_path: Path) -> Artifacts:
    (tmp_path / "program.py").write_text(PROGRAM)
    return Artifacts(tmp_path / "artifacts")


def begin(artifacts: Artifacts, attempt: int) -> Path:
    return artifacts.begin(job(attempt), {"epochs": 1}, artifacts.root.parent / "program.py")


def test_an_attempt_has_its_specification_and_the_trainer(artifacts: Artifacts) -> None:
    home = begin(artifacts, 1)
    assert home == artifacts.root / "runs" / "7" / "1"
    assert (home / "trainer.py").read_text() == PROGRAM
    spec = {"epochs": 1, "out": str(home), "bases": str(artifacts.bases)}
    assert json.loads((home / "spec.json").read_text()) == spec


def test_the_newest_whole_checkpoint_goes_along(artifacts: Artifacts) -> None:
    home = begin(artifacts, 1)
    for step, is_whole in ((9, True), (10, True), (11, False)):
        (home / f"checkpoint-{step}").mkdir()
        (home / f"checkpoint-{step}" / "weights").write_text(str(step))
        if is_whole:
            (home / f"checkpoint-{step}" / "COMPLETE").touch()
    second = begin(artifacts, 2)
    assert [path.name for path in second.glob("checkpoint-*")] == ["checkpoint-10"]
    assert (second / "checkpoint-10" / "weights").read_text() == "10"


def test_the_result_stays_when_the_attempts_go(artifacts: Artifacts) -> None:
    home = begin(artifacts, 1)
    assert not artifacts.finish(job(1), home)
    (home / "adapter").mkdir()
    (home / "adapter" / "weights").write_text("w")
    assert artifacts.finish(job(1), home)
    assert artifacts.finish(job(1), home)  # whoever asks again learns the same
    artifacts.forget_attempts(7)
    assert [path.name for path in (artifacts.runs / "7").iterdir()] == ["adapter"]
    assert (artifacts.adapter(7) / "weights").read_text() == "w"
    assert artifacts.jobs() == {7}
    artifacts.forget(7)
    artifacts.forget(7)
    assert artifacts.jobs() == set()
