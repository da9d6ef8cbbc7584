"""The crowd in front of a gate: clients of every account, who send what a seed says, one request after the other."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field, replace

from .backend import Script
from .clients import Client, Leaving, Plan, Sighting


@dataclass(slots=True)
class Crowd:
    """All clients of a run, and everything that they saw. Whoever leaves or dies is drawn from `seed`."""

    port: int
    seed: str
    sightings: list[Sighting] = field(default_factory=list)
    _clients: int = 0

    async def visit(self, account: str, secret: str, until: asyncio.Event, *, buyer: str = "") -> None:
        """One client of `account`, sending one request after the other `until` it is told to stop.

        A `buyer` (the UUID of a user) consumes tokens by a surface instead.
        """
        self._clients += 1
        name = f"{self.seed}/{self._clients}"
        rng, client, sent = random.Random(name), Client(self.port), 0
        while not until.is_set():
            sent += 1
            plan = draw(rng, account, secret, f"{name}/{sent}")
            if buyer:
                plan = replace(plan, buyer=buyer, stream=False)
            seen = await client.send(plan)
            self.sightings.append(seen)
            turned_down = seen.status != 200
            await asyncio.sleep(rng.uniform(0.05, 0.3) if turned_down else rng.uniform(0, 0.05))
        client.close()

    async def model_request(self, plan: Plan) -> Sighting:
        """One request beside the crowd's own."""
        client = Client(self.port)
        seen = await client.send(plan)
        client.close()
        self.sightings.append(seen)
        return seen


def draw(rng: random.Random, account: str, secret: str, tag: str) -> Plan:
    """A random request: one in four is left by its client, one in twelve dies with its upstream."""
    streams = rng.random() < 0.65
    tokens = rng.randint(1, 60)
    bytes_expected = 600 + tokens * (60 if streams else 5)
    return Plan(
        account,
        secret,
        Script(
            tag,
            tokens,
            pause=rng.choice((0.0, 0.002, 0.03)),
            dies_after=rng.randint(0, 12 if streams else 3) if rng.random() < 1 / 12 else None,
        ),
        words=rng.randint(1, 30),
        stream=streams,
        max_tokens=rng.choice((None, 16, 64, 64)),
        wants_usage=streams and rng.random() < 0.3,
        leave_after=rng.randint(1, bytes_expected + 400) if rng.random() < 1 / 4 else None,
        leaving=rng.choice(tuple(Leaving)),
    )
