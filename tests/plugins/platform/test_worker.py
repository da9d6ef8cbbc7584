"""`llmgate train-worker`, a real process: killed -9 in the middle, and the next one ends with the same adapter."""

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmgate.cli import main
from llmgate.store import Store
from llmgate_platform.artifacts import Artifacts
from llmgate_platform.training.jobs import Job, Queue

from .rows import add_job, add_model, eventually

GATE = """
[store]
url = "{store}"

[upstreams.llm]
urls = ["http://127.0.0.1:9"]
dialect = "llama_server"

[[routes]]
path = "/v1"
upstream = "llm"

[plugins.llmgate_platform]
artifacts = "artifacts"
save_seconds = 0.01
train_threads = 1

[[plugins.llmgate_platform.models]]
name = "Base"
base_model = "tiny"
upstream = "llm"
upstream_model = "tiny"
train_from = "{base}"
serve_with = "llama.cpp"
"""


@contextmanager
def worker(gate: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "llmgate", "--config", str(gate), "train-worker"]
    with (gate.parent / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    with process:
        try:
            yield process
        finally:
            process.terminate()


def trainer_of(gate: Path) -> list[int]:
    """The trainers that run for this gate."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if b"trainer.py" in command and str(gate.parent).encode() in command:
            found.append(int(folder.name))
    return found


@pytest.mark.training
async def test_a_worker_that_is_killed_takes_its_trainer_with_it_and_another_goes_on(
    platform_url: str, tmp_path: Path, tiny_model: Path
) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text(GATE.format(store=platform_url, base=tiny_model))
    artifacts = Artifacts(tmp_path / "artifacts")
    folder = artifacts.datasets / "folder"
    folder.mkdir(parents=True)
    rows = [{"prompt": f"def f{number}():\n", "completion": f"    return {number}\n"} for number in range(8)]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "test.jsonl").write_text("")
    async with Store.open(platform_url) as store:
        queue = Queue(store)
        await add_model(store)

        async def job(job_id: int) -> Job:
            found = await queue.by_id(job_id)
            assert found is not None
            return found

        whole, broken = await add_job(queue, epochs=20), await add_job(queue, epochs=20)
        with worker(gate) as first:
            assert (
                await eventually(lambda: job(whole.id), lambda row: row.completed_at is not None, 120)
            ).error is None
            await eventually(lambda: job(broken.id), lambda row: row.step >= 20, 120)
            first.send_signal(signal.SIGKILL)
            first.wait()

            async def trainers() -> list[int]:
                return trainer_of(gate)

            await eventually(trainers, lambda found: found == [], 10)
        assert (await job(broken.id)).status == "RUNNING"
        with worker(gate) as second:
            done = await eventually(lambda: job(broken.id), lambda row: row.completed_at is not None, 120)
            second.terminate()
            assert second.wait(timeout=30) == 0
        assert (done.status, done.attempt, done.failures) == ("COMPLETED", 2, 1)
        assert "from step" in done.logs
        digests = {
            hashlib.sha256(
                (artifacts.adapter(each.id) / "adapter_model.safetensors").read_bytes()
            ).hexdigest()
            for each in (whole, broken)
        }
        assert len(digests) == 1
        assert sorted(path.name for path in (artifacts.runs / str(broken.id)).iterdir()) == ["adapter"]


def test_the_command_is_there_with_the_gates_own() -> None:
    shown = CliRunner().invoke(main, ["--help"]).output
    assert "Commands of plugins" in shown
    assert "train-worker" in shown


def test_a_gate_without_the_plugin_trains_nothing(tmp_path: Path) -> None:
    gate = tmp_path / "gate.toml"
    gate.write_text(
        "[upstreams.a]\nurls = ['http://127.0.0.1:9']\n[[routes]]\npath = '/v1'\nupstream = 'a'\n"
    )
    done = CliRunner().invoke(main, ["--config", str(gate), "train-worker"])
    assert done.exit_code == 2
    assert "plugins.llmgate_platform: there is no such table: this gate trains nothing" in done.output
