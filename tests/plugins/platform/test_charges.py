"""What training costs is in the ledger: exactly once, whoever dies in between."""

import pytest
import sqlalchemy as sa
from stores import Clock

from llmgate.errors import StoreError
from llmgate.ledger import Filter
from llmgate.plugin.kit.job_states import FAILED, Ending
from llmgate_platform.charges import Charges
from llmgate_platform.tables import jobs
from llmgate_platform.training.jobs import Job, Queue

from .gate import CODING, Caller, PlatformGate, queue_of


async def spent(gate: PlatformGate, seconds: float, ada: Caller | None = None) -> tuple[Queue, Job]:
    """A job of Ada's that runs and has spent so much."""
    await (ada or await gate.register()).post("/training/coding", CODING)
    queue = queue_of(gate)
    job = await queue.take("w")
    assert job is not None
    held = await queue.report(job, {"spent": seconds})
    assert held is not None
    return queue, held


def charges_of(gate: PlatformGate, price: float = 0.001) -> Charges:
    services = gate.running.gate.services
    return Charges(services.store, services.ledger, price=price, route="llmgate_platform")


async def costs(gate: PlatformGate) -> list[tuple[str, int]]:
    records = await gate.running.gate.services.reports.records(Filter(user_id=1))
    return sorted((record.request_id, record.cost) for record in records if record.endpoint == "training")


async def test_the_seconds_of_a_job_are_usage_of_its_owners(platform: PlatformGate) -> None:
    queue, job = await spent(platform, 90.5)
    await queue.end(job, Ending(FAILED, "no", "no"), [])
    for _ in range(3):
        await charges_of(platform).charge_all()
    assert await costs(platform) == [("training-1-90500", 90_500)]
    records = await platform.running.gate.services.reports.records(Filter(user_id=1))
    (record,) = [record for record in records if record.endpoint == "training"]
    assert (record.key_id, record.surface, record.route, record.outcome) == (
        None,
        "platform",
        "llmgate_platform",
        "finished",
    )


async def test_the_seconds_of_a_job_are_no_requests_of_the_key(platform: PlatformGate) -> None:
    """Seen: `total_usage` was one more than `usage_count`, though every request was of the same day."""
    ada = await platform.register()
    queue, job = await spent(platform, 90.5, ada)
    await queue.end(job, Ending(FAILED, "no", "no"), [])
    await charges_of(platform).charge_all()
    (key,) = await ada.keys()
    assert (key["usage_count"], key["total_usage"]) == (1, 1)


async def test_a_job_that_runs_is_charged_now_and_then(platform: PlatformGate, clock: Clock) -> None:
    queue, job = await spent(platform, 300.0)
    charges = charges_of(platform)
    await charges.charge_all()
    assert await costs(platform) == []
    await queue.report(job, {"spent": 400.0})
    await charges.charge_all()
    await queue.report(job, {"spent": 10.0})
    await queue.end(job, Ending(FAILED, "no", "no"), [])
    await charges.charge_all()
    assert await costs(platform) == [("training-1-700000", 700_000), ("training-1-710000", 10_000)]


async def test_who_dies_between_ledger_and_note_charges_nothing_twice(
    platform: PlatformGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, job = await spent(platform, 50.0)
    await queue.end(job, Ending(FAILED, "no", "no"), [])
    store = platform.running.gate.services.store
    begin = type(store).begin
    tries = 0

    def dying(self: object) -> object:
        nonlocal tries
        tries += 1
        if tries == 2:  # the note that it is done
            raise StoreError("away")
        return begin(store)

    monkeypatch.setattr(type(store), "begin", dying)
    with pytest.raises(StoreError):
        await charges_of(platform).charge_all()
    monkeypatch.undo()
    await charges_of(platform).charge_all()
    assert await costs(platform) == [("training-1-50000", 50_000)]
    async with store.connect() as db:
        assert (await db.execute(sa.select(jobs.c["charging", "charged"]))).one() == (50.0, 50.0)


async def test_a_budget_pays_for_training_and_is_no_reason_to_forget_it(platform: PlatformGate) -> None:
    from llmgate.ledger import Allotment, Subject, Unit

    quotas = platform.running.gate.services.quotas
    queue, job = await spent(platform, 50.0)
    await quotas.set(Subject("user", 1), Allotment(Unit.MONEY, 60_000))
    await queue.end(job, Ending(FAILED, "no", "no"), [])
    await charges_of(platform).charge_all()
    (balance,) = await quotas.of(Subject("user", 1))
    assert balance.used == 50_000
