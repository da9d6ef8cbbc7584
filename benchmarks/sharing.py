"""How engines are shared, on real llama.cpp servers with SmolLM2-135M.

    python -m benchmarks.sharing queue      one tenant sends 200 requests at once, another one a second
    python -m benchmarks.sharing prefix     chats on two servers: cached tokens, time to the first token

Each line is a gate of its own in front of freshly started servers, on one thread each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from llmgate.tools.demo.process import running_backend

from .targets import free_port, llmgate, program, running

FLOOD = 200
TIMEOUT_S = 170
THINKING_S = 1.0, 6.0
WORDS = (
    "river",
    "stone",
    "cloud",
    "lamp",
    "garden",
    "winter",
    "market",
    "letter",
    "bridge",
    "paper",
    "silver",
)


@dataclass(frozen=True, slots=True)
class Served:
    """A gate in front of llama.cpp, and the keys of two tenants."""

    url: str
    keys: tuple[str, str]


@contextmanager
def served(settings: Mapping[str, object], *, servers: int = 1, slots: int = 4) -> Iterator[Served]:
    """A gate with these settings of its upstream, in front of `servers` of so many slots."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="llmgate-bench-")))
        urls = [
            stack.enter_context(
                running_backend(log=folder / f"backend-{number}.log", context=2048, slots=slots)
            )
            for number in range(servers)
        ]
        port = free_port()
        lines = [
            f'[gate]\nlisten = ["127.0.0.1:{port}"]\naccess_log = false',
            f'[upstreams.llama]\nurls = {json.dumps(urls)}\ndialect = "llama_server"',
            *(f"{name} = {value}" for name, value in settings.items()),
            '[[routes]]\npath = "/v1"\nupstream = "llama"',
        ]
        (folder / "gate.toml").write_text("\n".join(lines))
        llmgate(folder, "migrate")
        keys = []
        for name in ("first", "second"):
            llmgate(folder, "user", "add", name, "--no-password")
            keys.append(llmgate(folder, "key", "create", name, "--name=bench", "--quiet").strip())
        url = f"http://127.0.0.1:{port}"
        with running(program("llmgate", "serve"), runtime=None, url=url, folder=folder, path="/healthz"):
            yield Served(url, (keys[0], keys[1]))


def client_of(gate: Served, tenant: int) -> httpx.AsyncClient:
    """A client of one tenant with as many connections as it wants."""
    return httpx.AsyncClient(
        base_url=gate.url,
        headers={"authorization": f"Bearer {gate.keys[tenant]}"},
        timeout=TIMEOUT_S,
        limits=httpx.Limits(max_connections=None),
        trust_env=False,
    )


async def answer(http: httpx.AsyncClient, number: int) -> float:
    """The seconds until a short answer was there."""
    begun = time.perf_counter()
    body = {
        "model": "smollm2",
        "messages": [{"role": "user", "content": f"Count from {number}: " + " ".join(WORDS)}],
        "max_tokens": 8,
        "ignore_eos": True,
    }
    (await http.post("/v1/chat/completions", json=body)).raise_for_status()
    return time.perf_counter() - begun


async def steady(gate: Served, seconds: int, flood: int) -> list[float]:
    """The seconds that each of one request a second took, beside so many at once of another tenant."""
    async with client_of(gate, 0) as first, client_of(gate, 1) as second, asyncio.TaskGroup() as tasks:
        await answer(second, 0)  # what is loaded late is loaded now
        others = [tasks.create_task(_quietly(answer(first, number))) for number in range(flood)]
        if flood:
            await asyncio.sleep(0.5)
        asked = []
        for number in range(seconds):
            asked.append(tasks.create_task(answer(second, number)))
            await asyncio.sleep(1)
        took = list(await asyncio.gather(*asked))
        for other in others:
            other.cancel()
    return took


async def _quietly(work: Awaitable[float]) -> None:
    try:
        await work
    except httpx.HTTPError:
        return


def queue(seconds: int) -> None:
    """A line for each: alone, beside the flood with the queue, and without."""
    limited: Mapping[str, object] = {"max_in_flight": 1, "queue": '{ max = 250, timeout = "170s" }'}
    rows: tuple[tuple[str, Mapping[str, object], int], ...] = (
        ("alone", limited, 0),
        (f"beside {FLOOD}, fair queue", limited, FLOOD),
        (f"beside {FLOOD}, no queue in the gate", {}, FLOOD),
    )
    print("| one request a second | p50, s | p95, s | most, s |\n|---|---|---|---|")
    for name, settings, flood in rows:
        with served(settings, slots=1) as gate:
            took = asyncio.run(steady(gate, seconds if settings else seconds // 3, flood))
        print(f"| {name} | {statistics.median(took):.2f} | {_p95(took):.2f} | {max(took):.2f} |", flush=True)


@dataclass(slots=True)
class Turns:
    """What the turns of all chats took."""

    first_token: list[float] = field(default_factory=list)
    prompt: int = 0
    cached: int = 0


async def chat(http: httpx.AsyncClient, system: str, turns: int, seed: int, seen: Turns) -> None:
    """A chat of some turns, each of which has all before it in its prompt."""
    rng = random.Random(seed)
    messages = [{"role": "system", "content": system}]
    for _ in range(turns):
        await asyncio.sleep(
            rng.uniform(*THINKING_S)
        )  # else the server that has just answered is always the idle one
        messages.append({"role": "user", "content": " ".join(rng.choices(WORDS, k=40))})
        body = {"model": "smollm2", "messages": messages, "max_tokens": 12, "stream": True}
        body["stream_options"] = {"include_usage": True}
        begun, said = time.perf_counter(), ""
        async with http.stream("POST", "/v1/chat/completions", json=body) as streamed:
            streamed.raise_for_status()
            first = None
            async for line in streamed.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                event = json.loads(line.removeprefix("data: "))
                for choice in event.get("choices", ()):
                    if content := choice["delta"].get("content"):
                        first = first or time.perf_counter() - begun
                        said += content
                if usage := event.get("usage"):
                    seen.prompt += usage["prompt_tokens"]
                    seen.cached += (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            if first is not None:
                seen.first_token.append(first)
        messages.append({"role": "assistant", "content": said})


async def chats(gate: Served, *, documents: int, turns: int) -> Turns:
    """Chats about documents, which are their system prompts, with pauses in which people think."""
    rng = random.Random(7)
    texts = [" ".join(rng.choices(WORDS, k=300)) for _ in range(documents)]
    seen = Turns()
    async with client_of(gate, 0) as http, asyncio.TaskGroup() as tasks:
        for number, text in enumerate(texts):
            tasks.create_task(chat(http, text, turns, number, seen))
    return seen


def prefix(policies: Sequence[str]) -> None:
    """A line for each way to choose one of two servers."""
    print("| balance | prompt tokens cached | first token p50, s | p95, s |\n|---|---|---|---|")
    for policy in policies:
        with served({"balance": json.dumps(policy)}, servers=2, slots=2) as gate:
            seen = asyncio.run(chats(gate, documents=10, turns=5))
        share, times = seen.cached / max(1, seen.prompt), seen.first_token
        print(f"| {policy} | {share:.0%} | {statistics.median(times):.2f} | {_p95(times):.2f} |", flush=True)


def _p95(numbers: Sequence[float]) -> float:
    return statistics.quantiles(numbers, n=20)[-1]


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sharing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    of_queue = commands.add_parser("queue", help="a flood beside one request a second")
    of_queue.add_argument("--seconds", type=int, default=40)
    of_prefix = commands.add_parser("prefix", help="chats on two servers")
    of_prefix.add_argument("policies", nargs="*", default=["least_busy", "prefix"])
    options = parser.parse_args()
    run: Callable[[], None] = (
        (lambda: queue(options.seconds)) if options.command == "queue" else (lambda: prefix(options.policies))
    )
    run()


if __name__ == "__main__":
    main()
