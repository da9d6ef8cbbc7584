"""Events: written with what they tell of, delivered at least once, in order within a stream."""

from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from servers import serve, until
from stores import Clock
from webhook_receiver import Receiver

from llmgate.identity import Identity
from llmgate.plugin.kit.outbox import DeliveryFailed, Event, Outbox, add_event
from llmgate.store import Store
from llmgate_leaky_tokens.events import outbox_of
from llmgate_leaky_tokens.saga import Status
from llmgate_leaky_tokens.tables import OUTBOX
from plugins.leaky_tokens.bank import Shop
from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import NOON, PLUGIN
from plugins.leaky_tokens.test_analytics import note


@dataclass
class Collector:
    """A sink that takes events down, except those of streams that it is told to fail for."""

    events: list[Event] = field(default_factory=list)
    failing: set[str] = field(default_factory=set)
    tries: int = 0

    async def deliver(self, event: Event) -> None:
        self.tries += 1
        if event.stream in self.failing:
            raise DeliveryFailed("not now")
        self.events.append(event)

    @property
    def told(self) -> list[tuple[str, str]]:
        return [(event.stream, event.type) for event in self.events]


async def written(store: Store) -> int:
    async with store.connect() as db:
        return int(await db.scalar(sa.select(sa.func.count()).select_from(OUTBOX.events)) or 0)


async def tell(store: Store, stream: str, *kinds: str) -> None:
    async with store.begin() as db:
        for kind in kinds:
            await add_event(db, OUTBOX, stream, kind, {"of": stream}, at=store.clock())


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
async def box(store: Store, collector: Collector) -> Outbox:
    opened = outbox_of(store, [collector])
    await opened.open()
    return opened


async def test_events_are_delivered_in_order_and_forgotten(
    store: Store, box: Outbox, collector: Collector
) -> None:
    await tell(store, "a", "one", "two")
    await tell(store, "b", "one")
    await tell(store, "a", "three")
    await box.run()
    assert sorted(collector.told) == [("a", "one"), ("a", "three"), ("a", "two"), ("b", "one")]
    assert [kind for stream, kind in collector.told if stream == "a"] == ["one", "two", "three"]
    assert await written(store) == 0


async def test_an_event_says_what_when_and_of_what(store: Store, box: Outbox, collector: Collector) -> None:
    await tell(store, "a", "one")
    await box.run()
    (event,) = collector.events
    assert msgspec.json.decode(event.body) == {
        "id": event.id,
        "type": "one",
        "timestamp": "2026-02-05T12:00:00Z",
        "data": {"of": "a"},
    }


async def test_what_cannot_be_delivered_holds_up_its_own_stream_alone(
    store: Store, box: Outbox, collector: Collector, clock: Clock
) -> None:
    """And is sent again after 1, 2, 4 seconds, with the same id."""
    collector.failing = {"a"}
    await tell(store, "a", "one", "two")
    await tell(store, "b", "one")
    for wait in (1.0, 2.0, 4.0):
        await box.run()
        assert collector.told == [("b", "one")]
        clock.pass_by(wait)
    assert collector.tries == 4
    collector.failing = set()
    await box.run()
    assert collector.told == [("b", "one"), ("a", "one"), ("a", "two")]


async def test_a_delivery_that_died_is_made_again(
    store: Store, box: Outbox, collector: Collector, clock: Clock
) -> None:
    """The process took the event, and was killed; another one waits until it is surely dead."""
    await tell(store, "a", "one")
    (row,) = await box._due()
    assert await box._claim(row)
    assert not await box._claim(row), "another process does not take it meanwhile"
    await outbox_of(store, [collector]).run()
    assert collector.told == []
    clock.pass_by(61)
    await outbox_of(store, [collector]).run()
    assert collector.told == [("a", "one")]


async def test_an_event_of_what_was_rolled_back_is_not_told(
    store: Store, box: Outbox, collector: Collector
) -> None:
    with pytest.raises(RuntimeError):
        async with store.begin() as db:
            await add_event(db, OUTBOX, "a", "one", {}, at=NOON)
            raise RuntimeError
    await box.run()
    assert collector.told == []


async def test_where_nobody_listens_nothing_is_written(store: Store, collector: Collector) -> None:
    """And what was left over from when somebody did is dropped."""
    await tell(store, "a", "one")
    assert await written(store) == 0
    await outbox_of(store, [collector]).open()
    await tell(store, "a", "one")
    assert await written(store) == 1
    await outbox_of(store, []).open()
    assert await written(store) == 0


async def test_every_state_of_a_purchase_is_told_in_order(
    store: Store, box: Outbox, collector: Collector
) -> None:
    shop = Shop(store)
    purchase = await shop.start(await shop.payer())
    await shop.steps.run()
    await box.run()
    kinds = ["started", "payment_reserved", "tokens_allocated", "completed"]
    assert collector.told == [(purchase.id, f"purchase.{kind}") for kind in kinds]
    data = msgspec.json.decode(collector.events[-1].body)["data"]
    assert (data["purchaseId"], data["status"], data["tokens"]) == (purchase.id, Status.COMPLETED, 1000)


async def test_a_consumption_is_told_by_the_transaction_that_records_it(
    store: Store, box: Outbox, collector: Collector
) -> None:
    """Allowed or denied; not what failed, and not what other surfaces record."""
    ada = await Identity.over(store).users.register("ada", None)
    await note(store, ada, 50)
    await note(store, ada, 60, outcome="refused")
    await note(store, ada, 70, outcome="failed")
    await note(store, ada, 80, surface="")
    await box.run()
    told = [msgspec.json.decode(event.body) for event in collector.events]
    assert [(event["type"], event["data"]["tokens"]) for event in told] == [
        ("tokens.consumed", 50),
        ("tokens.denied", 60),
    ]
    assert told[0]["data"] == {
        "requestId": "request-0",
        "userId": ada.uuid,
        "provider": "openai",
        "tokens": 50,
        "allowed": True,
    }


# --- the whole gate


async def test_consumptions_and_purchases_reach_the_webhook(open_gate: OpenLeakyGate) -> None:
    """Those that were denied, too; a receiver that fails at first gets them all the same."""
    receiver = Receiver([500])
    async with serve(receiver) as url:

        def listen(document: dict[str, Any]) -> None:
            document["plugins"][PLUGIN]["webhook"] = {"url": url, "secret": "0123456789abcdef01234567"}

        async with open_gate(listen) as running:
            account = await running.account()
            assert (await running.consume(account, 50)).status_code == 200
            assert (await running.consume(account, 5000)).status_code == 402

            def both_arrived() -> bool:
                running.clock.pass_by(1)  # past the wait after the failure, whenever that was
                return {"tokens.consumed", "tokens.denied"} <= set(receiver.kinds[1:])

            await until(both_arrived)
    events = {(event := msgspec.json.decode(body))["type"]: event["data"] for _, body in receiver.got[1:]}
    assert (
        events["tokens.consumed"].items()
        >= {
            "userId": account.uuid,
            "provider": "openai",
            "tokens": 50,
            "allowed": True,
        }.items()
    )
    assert events["tokens.denied"].items() >= {"tokens": 5000, "allowed": False}.items()
