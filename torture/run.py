"""One run: a gate with its accounts, a crowd, troubles; then recovery, the rest of every quota, and the books."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import sqlalchemy as sa

from llmgate.cli.administration import Administration, administer
from llmgate.config import load
from llmgate.ledger import Allotment, Filter, Subject, Unit, UsageRecord
from llmgate.ledger.journal import SUFFIX
from llmgate.plugin.loader import migrations_of
from llmgate.store import migrate
from llmgate.store.schema import leases, workers

from . import processes
from .backend import Report, Script
from .books import Evidence, Quota
from .clients import ORDER, End, Plan
from .crowd import Crowd
from .hosts import GateHost
from .processes import Program
from .trouble import Database, Troubles

QUIET_WITHIN = 30.0
"""Seconds in which a gate that nobody uses must hold nothing any more; leases of the dead last for 10 s."""
MAX_TO_DRAIN = 600
REFUSALS = 3
PAUSE = 1.1
"""Seconds; a worker that looked for the rest of a quota in vain looks again after one second."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What a run is made of. `shared` is a Redis that several workers share; a `host` can be lost."""

    name: str
    folder: Path
    store: str
    database: Database
    workers: int = 1
    durability: str = "journal"
    synchronous: str = "normal"
    shared: Program | None = None
    host: GateHost | None = None


@dataclass(frozen=True, slots=True)
class Size:
    """How long the load lasts (seconds), how many clients each account has, and how large its quota is."""

    seconds: float
    clients: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Account:
    """Who sends requests, and the quota it shares with nobody; without a limit none."""

    name: str
    secret: str
    subject: Subject
    unit: Unit = Unit.TOKENS
    limit: int | None = None
    buyer: str = ""
    """UUID of a user who consumes tokens by a surface, and asks no route."""

    def draws(self, record: UsageRecord) -> bool:
        """Whether a record is of this account."""
        ids = {"user": record.user_id, "key": record.key_id, "organization": record.organization_id}
        return ids[self.subject.kind] == self.subject.id


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run."""

    evidence: Evidence
    troubles: dict[str, int]


async def run(scene: Scene, seed: str, size: Size) -> Result:
    """Play the scene; the same seed draws the same requests and troubles."""
    async with AsyncExitStack() as stack:
        gate, upstreams = await _started(scene, stack)
        accounts = await _accounts(scene, size.tokens)
        crowd = Crowd(gate.port, f"{seed}/{scene.name}")
        rng = random.Random(f"{seed}/{scene.name}/troubles")
        troubles = Troubles(rng, gate, upstreams, scene.database, redis=scene.shared, host=scene.host)
        if scene.host is not None:
            scene.host.sync()
        over = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            for account in accounts:
                for _ in range(size.clients):
                    tasks.create_task(crowd.visit(account.name, account.secret, over, buyer=account.buyer))
            await troubles.go_on(size.seconds)
            await troubles.die()  # the last death is in the middle of it, too
            over.set()
        await _quiet(gate.port)
        pause = PAUSE if scene.workers > 1 else 0.0
        await asyncio.gather(*(_drain(crowd, account, pause) for account in accounts))
        left = await _quiet(gate.port)
        left |= {"gates that ended by themselves": gate.falls, "errors on stop": int(await gate.stop() != 0)}
        evidence = await _evidence(scene, accounts, crowd, left)
    return Result(evidence, dict(troubles.done))


async def _started(scene: Scene, stack: AsyncExitStack) -> tuple[Program, list[Program]]:
    upstreams = processes.backends(scene.folder, 2)
    shared = [scene.shared] if scene.shared is not None else []
    gate = processes.gate(
        scene.folder,
        scene.store,
        upstreams,
        workers=scene.workers,
        durability=scene.durability,
        synchronous=scene.synchronous,
        shared=scene.shared,
        environment={} if scene.host is None else scene.host.environment,
    )
    config = load(scene.folder / "gate.toml")
    await migrate(config.store.url.reveal(), sets=migrations_of(config))
    for program in (*upstreams, *shared, gate):
        await program.start()
        stack.push_async_callback(program.stop)
    return gate, upstreams


async def _accounts(scene: Scene, tokens: int) -> list[Account]:
    """Users without limits, with hard ones of each unit, a limited key, an organization of two users, and two users
    who consume tokens by a surface."""
    limited = [(Unit.TOKENS, tokens), (Unit.TOKENS, tokens // 3), (Unit.REQUESTS, tokens // 50)]
    limited.append((Unit.MONEY, tokens * 2))
    accounts = []
    async with _administer(scene) as admin:
        user = admin.identity.users.register
        for name in ("free-1", "free-2"):
            owner = Subject("user", (await user(name, None)).id)
            accounts.append(Account(name, await _key(admin, owner.id), owner))
        for number, (unit, limit) in enumerate(limited, 1):
            name = f"{unit}-{number}"
            owner = Subject("user", (await user(name, None)).id)
            accounts.append(Account(name, await _key(admin, owner.id), owner, unit, limit))
        key, secret = await admin.identity.keys.create((await user("holder", None)).id, "torture")
        accounts.append(Account("key", secret, Subject("key", key.id), Unit.TOKENS, tokens // 2))
        for name in ("buyer-1", "buyer-2"):
            person = await user(name, None)
            accounts.append(
                Account(
                    name,
                    await _key(admin, person.id),
                    Subject("user", person.id),
                    limit=max(1, tokens // ORDER) * ORDER,
                    buyer=person.uuid,
                )
            )
        shared = await admin.identity.organizations.create("shared")
        for name in ("member-1", "member-2"):
            member = (await user(name, None)).id
            await admin.identity.organizations.add_member(shared.id, member)
            secret = await _key(admin, member, shared.id)
            accounts.append(Account(name, secret, Subject("organization", shared.id), Unit.TOKENS, tokens))
        for account in accounts:
            if account.limit is not None:
                await admin.quotas.set(account.subject, Allotment(account.unit, account.limit))
    return accounts


async def _key(admin: Administration, user_id: int, organization_id: int | None = None) -> str:
    _, secret = await admin.identity.keys.create(user_id, "torture", organization_id=organization_id)
    return secret


async def _drain(crowd: Crowd, account: Account, pause: float) -> None:
    """Spend what is left of a quota, with a `pause` (seconds) after a refusal: what has died holds none of it."""
    refusals = 0
    for number in range(MAX_TO_DRAIN if account.limit is not None else 1):
        script = Script(f"{crowd.seed}/{account.name}/rest/{number}", tokens=150)
        seen = await crowd.model_request(
            Plan(
                account.name,
                account.secret,
                script,
                words=1,
                stream=bool(number % 2) and not account.buyer,
                buyer=account.buyer,
            )
        )
        refusals = 0 if seen.end is End.FINISHED else refusals + 1
        if refusals == REFUSALS:
            return
        if refusals:
            await asyncio.sleep(pause)


async def _quiet(port: int) -> dict[str, int]:
    """Wait until the gate holds nothing; returns what it holds after `QUIET_WITHIN`."""
    holding = {"llmgate_quota_held", "llmgate_ledger_backlog", "llmgate_requests_in_flight"}
    left: dict[str, int] = {}
    try:
        async with asyncio.timeout(QUIET_WITHIN):
            while True:
                shown = processes.samples(await processes.get(port, "/metrics"))
                left = {
                    name: int(value) for name, value in shown if name.partition("{")[0] in holding and value
                }
                if not left:
                    return left
                await asyncio.sleep(0.2)
    except TimeoutError:
        return left


async def _evidence(scene: Scene, accounts: list[Account], crowd: Crowd, left: dict[str, int]) -> Evidence:
    async with _administer(scene) as admin:
        records = await admin.reports.records(Filter(), limit=10**9)
        async with admin.store.connect() as db:
            for table in (leases, workers):
                left[table.name] = await db.scalar(sa.select(sa.func.count()).select_from(table)) or 0
        quotas = [
            Quota(account.name, balance.allotment.unit, balance.allotment.limit, balance.used, account.draws)
            for account in accounts
            for balance in await admin.quotas.of(account.subject)
        ]
    left["journals"] = len(list(scene.folder.glob(f"*.workers/*{SUFFIX}")))
    reports = reports_of(scene.folder)
    return Evidence(crowd.sightings, reports, records, quotas, left, host_lost=scene.host is not None)


def reports_of(folder: Path) -> list[Report]:
    """All that the backends in `folder` have reported, each in its order."""
    decode = msgspec.json.Decoder(Report).decode
    return [
        decode(line) for log in sorted(folder.glob("*.reports")) for line in log.read_bytes().splitlines()
    ]


@asynccontextmanager
async def _administer(scene: Scene) -> AsyncIterator[Administration]:
    async with administer(load(scene.folder / "gate.toml")) as admin:
        yield admin
