"""The program that serves adapters by llama.cpp, with a stand-in for the library: what it asks for, and when it ends.

tests/plugins/platform/serving/test_llama.py runs it with the real one.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from llmgate_platform.serving.llama import PROGRAM
from llmgate_platform.serving.llama_server import KEY

LIBRARY = """
import json, sys
from types import SimpleNamespace as CommonAdapterLoraInfo


class CommonParams:
    def __init__(self):
        self.model, self.cpuparams, self.cpuparams_batch = (CommonAdapterLoraInfo() for _ in range(3))


class Server:
    listening_address = "http://127.0.0.1:4321"

    def __init__(self, params):
        json.dump(params, sys.stderr, default=vars)
"""


def test_it_serves_until_its_stdin_ends(tmp_path: Path) -> None:
    (tmp_path / "xllamacpp.py").write_text(LIBRARY)
    options = [
        "--model",
        "base.gguf",
        "--lora",
        "a.gguf",
        "--lora",
        "b.gguf",
        "--slots",
        "3",
        "--context",
        "100",
    ]
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), *options],
        env={**os.environ, "PYTHONPATH": str(tmp_path), KEY: "secret"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "listening http://127.0.0.1:4321\n"
        assert program.poll() is None
        _, said = program.communicate()
    assert program.returncode == 0
    asked: dict[str, Any] = json.loads(said)
    assert asked["model"] == {"path": "base.gguf"}
    assert (asked["hostnames"], asked["port"], asked["api_keys"]) == (["127.0.0.1"], 0, ["secret"])
    assert (asked["n_parallel"], asked["n_ctx"]) == (3, 300)
    assert asked["lora_adapters"] == [{"path": "a.gguf", "scale": 0.0}, {"path": "b.gguf", "scale": 0.0}]
    assert asked["lora_init_without_apply"] is True
    assert asked["cache_ram_mib"] == 0
