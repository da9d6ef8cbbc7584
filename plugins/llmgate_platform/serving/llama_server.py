"""A llama.cpp server for one base model and its adapters, as a program of its own.

    LLMGATE_LLAMA_KEY=... python llama_server.py --model BASE.gguf --lora A.gguf --lora B.gguf

Prints `listening URL` once requests are taken, and ends when its standard input does. No adapter is applied unless a
request says so, and its cache of prompts in RAM is off: that would hand the state that one adapter has computed to
another (slots are safe as long as every request names every adapter). Nothing of llmgate in it.
"""

from __future__ import annotations

import argparse
import os
import sys

KEY = "LLMGATE_LLAMA_KEY"


def serve(model: str, adapters: list[str], *, slots: int, context: int, threads: int) -> None:
    """Serve on a free port of 127.0.0.1 until stdin ends; `slots` requests at once, of `context` tokens each."""
    import xllamacpp  # noqa: PLC0415 - of the extra `demo`

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [os.environ[KEY]]
    params.n_parallel = slots
    params.n_ctx = context * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.endpoint_metrics = True
    loaded = []
    for path in adapters:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = path, 0.0
        loaded.append(adapter)
    params.lora_adapters = loaded
    params.lora_init_without_apply = True
    params.cache_ram_mib = 0
    server = xllamacpp.Server(params)
    sys.stdout.write(f"listening {server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


def main() -> None:
    """Read the options and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--lora", action="append", default=[])
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    serve(args.model, args.lora, slots=args.slots, context=args.context, threads=args.threads)


if __name__ == "__main__":
    main()
