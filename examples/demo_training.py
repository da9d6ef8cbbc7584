"""`make demo-training`: SmolLM2-135M learns Python functions on this machine, and is asked before and after.

A gate with this plugin in front of llama.cpp's server, one epoch on 200 functions of the standard library, 40 others
to evaluate with. Everything goes over the API, as a user would do it.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Any

import click
import httpx

from llmgate.errors import ConfigError
from llmgate.tools.demo import MODEL
from llmgate.tools.demo.backend import shipped_model
from llmgate.tools.demo.process import running_backend
from llmgate_platform.datasets import stdlib

TRAIN, TEST, SAMPLES = 200, 40, 20
PROMPTS = (
    'def is_even(n):\n    """Return true if n is even."""\n',
    'def area(width, height):\n    """Return the area of a rectangle."""\n',
)
ANSWER = {"temperature": 0, "max_length": 48}
SHOWN = 5
"""Lines of an answer."""
JOB = {"model_id": 1, "dataset_id": 1, "job_name": "Python functions", "epochs": 1, "learning_rate": 0.0002}
BAR = 30
GATE = """\
[gate]
listen = ["127.0.0.1:$port"]
access_log = false

[store]
url = "sqlite:///gate.db"

[upstreams.demo]
urls = ["$backend"]
dialect = "llama_server"
context_length = 2048

[[routes]]
path = "/v1"
upstream = "demo"

[plugins.llmgate_platform]
artifacts = "artifacts"
worker = "local"
max_train_tokens = 256

[[plugins.llmgate_platform.models]]
name = "SmolLM2 135M"
base_model = "SmolLM2-135M-Instruct"
upstream = "demo"
upstream_model = "$model"
train_from = "$gguf"
serve_with = "llama.cpp"

[[plugins.llmgate_platform.datasets]]
name = "Python functions"
file = "train.jsonl"
held_out = "test.jsonl"
language = "python"
license = "PSF-2.0"
"""


class Api:
    """The platform's API, as its user sees it."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=f"{url}/api", timeout=1800, trust_env=False)

    def call(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """The answer. Raises `ClickException` for an error."""
        answer = self._http.request(method, path, json=body)
        found: dict[str, Any] = answer.json()
        if answer.is_error:
            raise click.ClickException(f"{method} {path}: {answer.status_code} {found['error']}")
        return found

    def register(self, kept: Path) -> None:
        """Become a user, or the one of an earlier demo, whose key is in the file `kept`."""
        user = {"username": "demo", "email": "demo@example.com", "password": "demo-password-1"}
        if not kept.exists():
            kept.touch(mode=0o600)
            kept.write_text(self.call("POST", "/auth/register", user)["api_key"])
        self._http.headers["x-api-key"] = kept.read_text()

    def answers(self, model_id: int) -> list[str]:
        """What a model makes of the prompts."""
        path = f"/models/{model_id}/generate"
        return [self.call("POST", path, {"prompt": prompt, **ANSWER})["text"] for prompt in PROMPTS]

    def evaluate(self, model_id: int) -> dict[str, Any]:
        """What an evaluation finds."""
        body = {"eval_name": "demo", "samples": SAMPLES}
        metrics: dict[str, Any] = self.call("POST", f"/models/{model_id}/evaluate", body)["metrics"]
        return metrics


@click.command()
@click.option(
    "--dir", "folder", type=click.Path(path_type=Path, file_okay=False), help="Keep the files there."
)
def main(folder: Path | None) -> None:
    """Train, and show what that did."""
    with tempfile.TemporaryDirectory(prefix="llmgate-demo-training-") as temporary:
        place = (folder or Path(temporary)).absolute()
        place.mkdir(parents=True, exist_ok=True)
        try:
            _demo(place)
        except ConfigError as error:
            raise click.ClickException("\n".join(error.problems)) from error


def _demo(place: Path) -> None:
    started = time.monotonic()
    _say(
        f"Making a data set of this Python's own functions: {TRAIN} to train on, {TEST} of other modules held out."
    )
    stdlib.main(place)
    for name, number in (("train.jsonl", TRAIN), ("test.jsonl", TEST)):
        lines = (place / name).read_text().splitlines(keepends=True)
        (place / name).write_text("".join(lines[:number]))
    _say("Starting llama.cpp's server with SmolLM2-135M, and the gate in front of it.")
    with running_backend(log=place / "backend.log") as backend, _gate(place, backend) as url:
        api = Api(url)
        api.register(place / "api-key")
        before = api.answers(1)
        _say(f"Evaluating it on {SAMPLES} of the functions held out ...")
        scores_before = api.evaluate(1)
        _say("Training a LoRA adapter, one epoch:")
        job = _train(api)
        _say("Its model is served by llama.cpp. Evaluating that, too ...")
        model_id = job["result_model_id"]
        after = _when_served(api, model_id)
        scores_after = api.evaluate(model_id)
        _show(before, after, scores_before, scores_after)
    _say(f"All of it took {(time.monotonic() - started) / 60:.1f} minutes.")


@contextmanager
def _gate(place: Path, backend: str) -> Iterator[str]:
    """A gate in front of the model for as long as the block lasts; yields its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    values = {"port": port, "backend": backend, "model": MODEL, "gguf": shipped_model()}
    (place / "gate.toml").write_text(Template(GATE).substitute(values))
    url, log = f"http://127.0.0.1:{port}", place / "gate.log"
    command = [sys.executable, "-m", "llmgate", "--config", str(place / "gate.toml"), "serve"]
    with log.open("wb") as report, subprocess.Popen(command, stdout=report, stderr=report) as gate:  # noqa: S603
        try:
            while not _answers(url):
                if gate.poll() is not None:
                    raise click.ClickException(f"the gate did not start:\n{log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield url
        finally:
            gate.terminate()


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _train(api: Api) -> dict[str, Any]:
    """Train, and show how far it is."""
    started = time.monotonic()
    jobs = api.call("GET", "/training")["training_jobs"]  # an earlier demo in this folder may have made it
    job_id = (jobs or [api.call("POST", "/training/coding", JOB)])[0]["id"]
    while True:
        job = api.call("GET", f"/training/{job_id}")
        done, loss = job["progress"] / 100, job["current_loss"]
        bar = "#" * round(BAR * done) + "." * (BAR - round(BAR * done))
        latest = job["logs"].strip().rpartition("\n")[2].rpartition("] ")[2]
        told = f"loss {loss:.3f}" if loss is not None else latest[:60]
        line = f"  [{bar}] {100 * done:3.0f} %  {time.monotonic() - started:4.0f} s  {told}"
        click.echo(f"\r{line:<100}", nl=False)
        if job["status"] in ("COMPLETED", "FAILED"):
            click.echo()
            break
        time.sleep(1.0)
    if job["status"] == "FAILED":
        raise click.ClickException(f"the training failed: {job['error']}")
    for line in job["logs"].splitlines():
        if "held-out" in line:
            _say(line)
    return job


def _when_served(api: Api, model_id: int) -> list[str]:
    """The answers of a new model, which is served some seconds after it was made."""
    while True:
        try:
            return api.answers(model_id)
        except click.ClickException as error:
            if " 503 " not in error.message:
                raise
        time.sleep(0.5)


def _show(
    before: list[str], after: list[str], scores_before: dict[str, Any], scores_after: dict[str, Any]
) -> None:
    width = min(shutil.get_terminal_size((100, 24)).columns, 120) // 2 - 2
    for prompt, old, new in zip(PROMPTS, before, after, strict=True):
        click.echo(f"\n{prompt.rstrip()}")
        _side_by_side("    before:", "    after:", width)
        left, right = (text.removeprefix(prompt).rstrip().splitlines()[:SHOWN] for text in (old, new))
        for at in range(max(len(left), len(right))):
            _side_by_side(*(lines[at] if at < len(lines) else "" for lines in (left, right)), width)
    click.echo(f"\n{'':24}{'before':>12}{'after':>12}")
    for name, before_it in scores_before.items():
        click.echo(f"{name:24}{before_it!s:>12}{scores_after[name]!s:>12}")
    click.echo()


def _side_by_side(left: str, right: str, width: int) -> None:
    click.echo(f"{left[:width]:<{width}} | {right[:width]}".rstrip())


def _say(text: str) -> None:
    click.echo(text)


if __name__ == "__main__":
    main()
