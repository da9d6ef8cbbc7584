"""The trainer itself, with a model of two layers: the same adapter however often it was stopped, and why it fails.

Each run starts Python and imports torch, about five seconds; `make test-training` installs what they need.
"""

import contextlib
import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import pytest

from llmgate.errors import extra_remedy
from llmgate_platform.training import trainer as module
from llmgate_platform.training.trainer import PAUSED, TrainingError, pieces_of, read_rows

TRAINER = Path(module.__file__)
ROWS: list[Mapping[str, Any]] = [
    {"prompt": "def is_even(n):\n", "completion": "    return n % 2 == 0\n"},
    {
        "instruction": "Area of a rectangle",
        "input": "def area(w, h):",
        "output": "def area(w, h):\n    return w * h\n",
    },
    {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]},
    {"text": "one two three"},
] * 4

Spec = Callable[..., Path]


def jsonl(rows: list[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bases")


@pytest.fixture
def spec(tiny_model: Path, bases: Path, tmp_path: Path) -> Spec:
    """Writes the file that a trainer is started with."""

    def write(name: str = "run", rows: list[Mapping[str, Any]] = ROWS, **more: Any) -> Path:
        out = tmp_path / name
        out.mkdir()
        data = out / "data.jsonl"
        data.write_text(jsonl(rows))
        values = {
            "base": str(tiny_model), "bases": str(bases), "dataset": str(data), "out": str(out), "epochs": 4,
            "batch_size": 2, "learning_rate": 1e-3, "save_seconds": 0.1, "gguf": True, "threads": 1,
            "held_out": str(data),
        }  # fmt: skip
        (out / "spec.json").write_text(json.dumps({**values, **more}))
        return out / "spec.json"

    return write


@contextlib.contextmanager
def started(spec: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    run, pipe = command or (sys.executable, str(TRAINER), str(spec)), subprocess.PIPE
    with (spec.parent / "stderr").open("wb") as stderr:
        process = subprocess.Popen(run, stdin=pipe, stdout=pipe, stderr=stderr)
    with process:
        try:
            yield process
        finally:
            process.kill()


def events(pipe: IO[bytes] | None) -> Iterator[dict[str, Any]]:
    assert pipe is not None
    for line in pipe:
        yield json.loads(line)


def run(spec: Path) -> tuple[int, list[dict[str, Any]]]:
    with started(spec) as process:
        told = list(events(process.stdout))
        return process.wait(), told


def adapter(spec: Path) -> str:
    return hashlib.sha256((spec.parent / "adapter" / "adapter_model.safetensors").read_bytes()).hexdigest()


@pytest.mark.training
def test_it_ends_with_the_same_adapter_whatever_happens_on_the_way(spec: Spec) -> None:
    """Uninterrupted, stopped by SIGTERM, killed at a checkpoint and behind one: equal to the bit."""
    whole = spec("whole")
    status, told = run(whole)
    assert status == 0
    kinds = [event["event"] for event in told]
    assert kinds[0] in ("converted", "evaluated")
    assert kinds[-1] == "finished"
    losses = [event["loss"] for event in told if event["event"] == "evaluated"]
    assert len(losses) == 5  # before, and after each epoch
    assert losses[-1] < losses[0] - 0.5
    assert [event["step"] for event in told if event["event"] == "step"] == list(range(1, 33))
    result = whole.parent / "adapter"
    assert {"adapter_config.json", "adapter_model.safetensors", "adapter.gguf", "job.json"} <= {
        path.name for path in result.iterdir()
    }
    made_of = json.loads((result / "job.json").read_text())
    assert made_of["dataset_sha256"] == hashlib.sha256(jsonl(ROWS).encode()).hexdigest()
    assert made_of["versions"]["torch"]
    assert not list(whole.parent.glob("checkpoint-*"))

    broken = spec("broken", save_seconds=0.0)
    with started(broken) as process:  # a checkpoint each step, and SIGTERM in the middle
        for event in events(process.stdout):
            if event.get("step") == 9:
                process.send_signal(signal.SIGTERM)
                break
        rest = list(events(process.stdout))
        assert process.wait() == PAUSED
    assert rest[-1]["event"] == "paused"
    with started(broken) as process:  # kill -9 wherever it happens to be
        first = next(event for event in events(process.stdout) if event["event"] == "started")
        assert first["step"] == rest[-1]["step"]
        next(event for event in events(process.stdout) if event["event"] == "step" and event["step"] >= 17)
        process.kill()
    torn = broken.parent / "checkpoint-31"
    torn.mkdir()  # killed while it wrote this one: no mark in it
    (torn / "trainer_state.json").write_text("{")
    assert run(broken)[0] == 0
    assert adapter(broken) == adapter(whole)


@pytest.mark.training
def test_it_dies_with_whoever_started_it(spec: Spec) -> None:
    with started(spec(epochs=100)) as process:
        assert process.stdin is not None
        next(event for event in events(process.stdout) if event["event"] == "step")
        process.stdin.close()
        assert process.wait(timeout=10) == -signal.SIGKILL


@pytest.mark.training
def test_sigterm_before_training_has_begun_costs_nothing(spec: Spec) -> None:
    """While it loads the model there is nothing to save."""
    with started(spec()) as process:
        while not handles_sigterm(process):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == PAUSED


def handles_sigterm(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process has put its handler in place, as the system tells."""
    (caught,) = (
        line.split()[1]
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if line.startswith("SigCgt:")
    )
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


FAILURES: list[tuple[dict[str, Any], str]] = [
    ({"learning_rate": 1e30}, "The loss is not finite any more at step "),
    ({"dataset": "/no/such/file"}, "The file of the data set is not there."),
    ({"base": "/no/such/model"}, "The base model could not be loaded: train_from has to be a folder"),
    ({"rows": [*ROWS, {"nothing": 1}]}, "Line 17 of the data set has none of the known formats."),
    ({"rows": []}, "The data set has no example that can be learnt from."),
    ({"lora_r": 10**10}, "Out of memory: a smaller batch_size or lora_r needs less."),
]
EACH = f"""
import os, sys
sys.path.insert(0, {str(TRAINER.parent)!r})
import trainer
stdout = os.dup(1)
for path in sys.argv[1:]:
    os.dup2(stdout, 1)
    assert trainer.main(path) == 1
"""


@pytest.mark.training
def test_what_fails_says_why_in_words_for_its_user(spec: Spec) -> None:
    """One process for all: what they take is the time to import torch."""
    failing = [spec(f"run{at}", held_out=None, **changes) for at, (changes, _) in enumerate(FAILURES)]
    with started(failing[0], sys.executable, "-c", EACH, *map(str, failing)) as process:
        told = [event["error"] for event in events(process.stdout) if event["event"] == "failed"]
        assert process.wait() == 0
    assert len(told) == len(FAILURES)
    for said, (_, reason) in zip(told, FAILURES, strict=True):
        assert said.startswith(reason)
    assert not [path for each in failing for path in each.parent.glob("adapter*")]


@pytest.mark.training
def test_a_full_disk_is_told_and_leaves_no_half_result(spec: Spec) -> None:
    """Files may have 64 KiB: neither a checkpoint nor the adapter fits, as on a full disk."""
    full = spec(save_seconds=0.0, held_out=None)
    limited = ("bash", "-c", 'ulimit -f 64; exec "$@"', "limited")
    with started(full, *limited, sys.executable, str(TRAINER), str(full)) as process:
        *_, last = events(process.stdout)
        assert process.wait() == 1
    assert last["event"] == "failed"
    assert last["error"] == "There is no space left on the disk of the artifacts folder."
    assert not (full.parent / "adapter").exists()


# --- without torch ---


def template(messages: list[dict[str, str]], **more: Any) -> str:
    text = "".join(f"<{message['role']}>{message['content']}</>" for message in messages)
    return text + ("<assistant>" if more.get("add_generation_prompt") else "")


@pytest.mark.parametrize(
    ("row", "pieces"),
    [
        ({"prompt": "p", "completion": "c"}, [("p", False), ("c", True)]),
        ({"instruction": "a\nb", "output": "c"}, [("# a\n# b\n", False), ("c", True)]),
        ({"instruction": "a", "input": "x", "output": "xy"}, [("# a\nx", False), ("y", True)]),
        ({"instruction": "a", "input": "x", "output": "y"}, [("# a\nx\n", False), ("y", True)]),
        ({"text": "t"}, [("t", True)]),
        (
            {"messages": [
                {"role": "user", "content": "1"}, {"role": "assistant", "content": "2"},
                {"role": "user", "content": "3"}, {"role": "assistant", "content": "4"},
            ]},
            [("<user>1</><assistant>", False), ("2</>", True), ("<user>3</><assistant>", False), ("4</>", True)],
        ),
    ],
)  # fmt: skip
def test_what_is_given_and_what_is_learnt(row: dict[str, Any], pieces: list[tuple[str, bool]]) -> None:
    assert pieces_of(row, template) == pieces


def test_a_template_that_rewrites_earlier_turns_is_refused() -> None:
    rows = [{"role": "assistant", "content": "1"}, {"role": "assistant", "content": "2"}]
    with pytest.raises(TrainingError, match="rewrites earlier turns"):
        pieces_of({"messages": rows}, lambda messages, **_: f"{len(messages)}")


def test_rows_have_the_numbers_of_their_lines(tmp_path: Path) -> None:
    (tmp_path / "rows").write_text('{"text": "a"}\n\n{"text": "b"}\n')
    assert [number for number, _ in read_rows(str(tmp_path / "rows"))] == [1, 3]


def test_it_runs_where_llmgate_is_not_installed() -> None:
    """One file, which imports nothing of the project's."""
    imports = [
        line for line in TRAINER.read_text().splitlines() if line.lstrip().startswith(("import ", "from "))
    ]
    assert imports
    assert not [line for line in imports if line.split()[1].startswith((".", "llmgate"))]


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A folder to put first on the path, where `torch` cannot be imported."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    return tmp_path


def test_without_the_packages_it_says_what_to_install(blocked: Path) -> None:
    spec = {"base": "b", "dataset": "d", "out": str(blocked), "bases": str(blocked)}
    (blocked / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, str(TRAINER), str(blocked / "spec.json")]
    environment = {"PYTHONPATH": str(blocked)}
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environment
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["error"] == f"The trainer needs the package torch: {extra_remedy('training')}."
