"""How much of the prompts is in a cache already, by the way that replicas are chosen: a simulation of 64 engines.

    python -m benchmarks.balancing [--replicas 64] [--requests 40000] [--seed 7]

The trace: chats of several turns, each turn's prompt the whole chat so far, begun by one of a few system prompts that
are shared by many chats, in the proportions of a Zipf law. An engine answers so many requests at once, remembers the
blocks of the prompts that it has read, the latest used, and reads the rest at a given speed. Time is simulated.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import statistics
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from llmgate.proxy.affinity import BLOCK, PrefixAffinity, heads_of

CACHE_BLOCKS = 1_500
PLACES = 8
READ_S = 0.012
"""Seconds to read one block (some 130 tokens) that is not in the cache."""
ANSWER_S = 1.5


@dataclass(slots=True)
class Request:
    """One turn: when it comes, and the hashes of its prompt's blocks."""

    at: float
    heads: Sequence[bytes]


@dataclass(slots=True)
class Engine:
    """A replica: what runs, what waits, what it remembers."""

    in_flight: int = 0
    waiting: deque[Request] = field(default_factory=deque)
    cache: OrderedDict[bytes, None] = field(default_factory=OrderedDict)

    def read(self, request: Request) -> int:
        """Blocks of the prompt that were in the cache, from its begin; all are in it afterwards."""
        cached = 0
        for head in request.heads:
            if head not in self.cache:
                break
            cached += 1
        for head in request.heads:
            self.cache[head] = None
            self.cache.move_to_end(head)
        while len(self.cache) > CACHE_BLOCKS:
            self.cache.popitem(last=False)
        return cached


Choose = Callable[[Request, Sequence[Engine]], int]


def trace(requests: int, rate: float, rng: random.Random) -> Iterator[Request]:
    """Turns of many chats at once, `rate` a second in all."""
    systems = [rng.randbytes(BLOCK * rng.randint(4, 16)) for _ in range(200)]
    weights = [1 / (rank + 1) for rank in range(len(systems))]
    chats: list[bytes] = []
    at = 0.0
    for _ in range(requests):
        at += rng.expovariate(rate)
        if not chats or rng.random() < 0.2:
            chats.append(rng.choices(systems, weights)[0])
        index = rng.randrange(max(0, len(chats) - 2_000), len(chats))
        chats[index] += rng.randbytes(BLOCK * rng.randint(1, 3))
        yield Request(at, heads_of(chats[index]))


def policies(replicas: int, rng: random.Random) -> dict[str, Choose]:
    """Each way to choose a replica."""
    turn = itertools.count()
    affinity: PrefixAffinity[int] = PrefixAffinity()

    def load(engine: Engine) -> int:
        return engine.in_flight + len(engine.waiting)

    return {
        "random": lambda _, __: rng.randrange(replicas),
        "round robin": lambda _, __: next(turn) % replicas,
        "least busy": lambda _, engines: min(
            range(replicas), key=lambda index: (load(engines[index]), rng.random())
        ),
        "prefix": lambda request, engines: affinity.choose(
            request.heads, {index: load(engine) for index, engine in enumerate(engines)}
        ),
    }


def simulate(requests: Sequence[Request], choose: Choose, replicas: int) -> tuple[float, list[float]]:
    """The share of blocks that were in a cache, and the seconds to the first token of each request."""
    engines = [Engine() for _ in range(replicas)]
    ends: list[tuple[float, int, int]] = []
    number = itertools.count()
    waits: list[float] = []
    cached = 0

    def start(index: int, request: Request, now: float) -> None:
        nonlocal cached
        engine = engines[index]
        engine.in_flight += 1
        hits = engine.read(request)
        cached += hits
        first = now + READ_S * (len(request.heads) - hits)
        waits.append(first - request.at)
        heapq.heappush(ends, (first + ANSWER_S, next(number), index))

    def end(now: float, index: int) -> None:
        engines[index].in_flight -= 1
        if engines[index].waiting:
            start(index, engines[index].waiting.popleft(), now)

    for request in requests:
        while ends and ends[0][0] <= request.at:
            now, _, index = heapq.heappop(ends)
            end(now, index)
        index = choose(request, engines)
        if engines[index].in_flight < PLACES:
            start(index, request, request.at)
        else:
            engines[index].waiting.append(request)
    while ends:
        now, _, index = heapq.heappop(ends)
        end(now, index)
    return cached / max(1, sum(len(request.heads) for request in requests)), waits


def main() -> None:
    """Print a line for each policy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.balancing", description=__doc__)
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--requests", type=int, default=40_000)
    parser.add_argument(
        "--load", type=float, default=0.75, help="of what the replicas can answer without reading"
    )
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    rate = options.load * options.replicas * PLACES / ANSWER_S
    requests = list(trace(options.requests, rate, random.Random(options.seed)))
    print(
        f"{options.replicas} replicas, {options.requests} requests, {rate:.0f} a second, seed {options.seed}"
    )
    print(f"{'policy':12} {'cached':>7} {'first token p50':>16} {'p95':>8} {'p99':>8}")
    for name, choose in policies(options.replicas, random.Random(options.seed)).items():
        share, waits = simulate(requests, choose, options.replicas)
        cuts = statistics.quantiles(waits, n=100)
        print(f"{name:12} {share:7.1%} {cuts[49]:14.3f} s {cuts[94]:6.3f} s {cuts[98]:6.3f} s")


if __name__ == "__main__":
    main()
