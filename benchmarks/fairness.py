"""What a flood of one tenant costs another one who sends a request a second: a simulation of the fair queue.

    python -m benchmarks.fairness [--flood 200] [--seconds 2000] [--seed 7]

The engine has so many places, and each request takes its own time there. Of one tenant as many requests as the flood
has wait at any time, of the other one none before its next is sent. Time is simulated; the queue is the gate's own.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from llmgate.proxy.fair_queue import FairQueue

ANSWER_S = 0.05, 0.25
"""The shortest and the longest request, in seconds; all between are as likely."""
TOKENS_A_SECOND = 1_000
"""What the work that a request asks for is told from, for the queue."""


@dataclass(frozen=True, slots=True)
class Request:
    """When it comes, whose it is, and the seconds that it takes at the engine."""

    at: float
    tenant: str
    takes: float


Tenant = Callable[[str], str]
"""In whose line of the queue a tenant's requests stand."""
FAIR: Tenant = str
FIRST_COME: Tenant = lambda _: "all"  # noqa: E731 - a value beside FAIR


def one_a_second(seconds: int, rng: random.Random) -> list[Request]:
    """The requests of the tenant who asks now and then: one at some moment of each second."""
    return [Request(number + rng.random(), "single", rng.uniform(*ANSWER_S)) for number in range(seconds)]


def simulate(
    singles: Sequence[Request],
    *,
    flood: int,
    places: int,
    longer: float = 1.0,
    line: Tenant = FAIR,
    seed: int = 0,
) -> list[float]:
    """The seconds until each of `singles` was answered, beside a tenant of whom `flood` requests wait at any time.

    `longer`: by how much those of the flood take longer. For each of them that is answered the next one comes.
    """
    rng = random.Random(seed)
    queue: FairQueue[Request] = FairQueue(max_waiting=flood + places + len(singles))
    number = itertools.count()
    events: list[tuple[float, int, Request, bool]] = []  # at, number, request, whether it ends
    took: list[float] = []
    free = places

    def comes(request: Request) -> None:
        heapq.heappush(events, (request.at, next(number), request, False))

    def flooding(now: float) -> None:
        comes(Request(now, "flood", longer * rng.uniform(*ANSWER_S)))

    for _ in range(flood):
        flooding(0.0)
    for request in singles:
        comes(request)
    left = len(singles)
    while left:
        now, _, request, ends = heapq.heappop(events)
        if ends:
            free += 1
            if request.tenant == "flood":
                flooding(now)
            else:
                took.append(now - request.at)
                left -= 1
        else:
            cost = round(request.takes * TOKENS_A_SECOND)
            queue.push(request, tenant=line(request.tenant), cost=cost)
        while free and (ticket := queue.pop()) is not None:
            free -= 1
            heapq.heappush(events, (now + ticket.item.takes, next(number), ticket.item, True))
    return took


def p95(numbers: Sequence[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(numbers, n=20)[-1]


def main() -> None:
    """Print a line for each engine and flood."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fairness", description=__doc__)
    parser.add_argument("--flood", type=int, default=200)
    parser.add_argument("--seconds", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    singles = one_a_second(options.seconds, random.Random(options.seed))
    print("| places | requests of the flood | alone p95, s | fair queue p95, s | times | first come p95, s |")
    print("|---|---|---|---|---|---|")
    for places, longer in ((1, 1.0), (4, 1.0), (1, 4.0), (4, 4.0)):
        alone = p95(simulate(singles, flood=0, places=places))
        fair, first = (
            p95(
                simulate(
                    singles, flood=options.flood, places=places, longer=longer, line=line, seed=options.seed
                )
            )
            for line in (FAIR, FIRST_COME)
        )
        size = "as long" if longer == 1 else f"{longer:g} times as long"
        print(f"| {places} | {size} | {alone:.2f} | {fair:.2f} | {fair / alone:.1f} | {first:.2f} |")


if __name__ == "__main__":
    main()
