"""One way to charge: what is held, recorded and charged, however the work in the block ends."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import parse_request
from llmgate.errors import BadRequest, ClientGone, QuotaExhausted, StoreError, UpstreamFailed
from llmgate.exchange import Exchange, Principal
from llmgate.ledger import Charge, Demand, Filter, Ledger, Price, Prices, Quotas, Reports, UsageRecord
from llmgate.store import Store
from llmgate.usage.model import Certainty, Reading, Usage

from .ledgers import ANN, Timer, open_ledger, tokens, used
from .worker import FORK

USED = Reading(Usage(7, 11, 2, 3), Certainty.EXACT)
FIFTY = Demand(10, 40)
GUESSED = Reading(Usage(9, 4), Certainty.ESTIMATED)


@pytest.fixture
async def ledger(store: Store, tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_ledger(store, tmp_path / "workers", timer=Timer()) as ledger:
        yield ledger


def exchange(request_id: str = "r-1", **fields: Any) -> Exchange:
    return Exchange(
        request_id,
        started=999.5,
        route="chat",
        surface="shop",
        principal=Principal(1, "ann", key_id=7, organization_id=3),
        **fields,
    )


def charge(ledger: Ledger, of: Exchange, demand: Demand | None = FIFTY, **settings: Any) -> Charge:
    return ledger.charge(of, [ANN], demand, upstream="vllm", model="smol", endpoint="chat", **settings)


async def recorded(store: Store) -> UsageRecord:
    (record,) = await Reports(store).records(Filter())
    return record


async def test_what_was_used_is_recorded_and_charged_when_settle_returns(
    ledger: Ledger, store: Store
) -> None:
    await Quotas(store).set(ANN, tokens(100))
    prices = Prices({"smol": Price(1.0, 2.0)})
    async with charge(ledger, exchange(first_byte=999.75), prices=prices) as one:
        assert one.hold is not None
        assert [amount for _, amount in one.hold.parts] == [50]
        await one.settle(USED, status=200)
        assert await used(store) == [18]
    assert await recorded(store) == UsageRecord(
        request_id="r-1",
        at=ledger.clock(),
        user_id=1,
        key_id=7,
        organization_id=3,
        surface="shop",
        route="chat",
        upstream="vllm",
        model="smol",
        endpoint="chat",
        input_tokens=7,
        output_tokens=11,
        cached_tokens=2,
        reasoning_tokens=3,
        cost=29,
        certainty="exact",
        outcome="finished",
        status=200,
        duration=0.5,
        first_byte=0.25,
    )


async def test_how_many_answers_were_asked_for_of_each_prompt_is_recorded(
    ledger: Ledger, store: Store
) -> None:
    """Some backends count a prompt once for each: what they have counted follows from the record."""
    request = exchange()
    request.model_request = parse_request(Endpoint.COMPLETIONS, b'{"prompt":["a","b"],"n":3}')
    async with charge(ledger, request) as one:
        await one.settle(USED)
    async with charge(ledger, exchange("r-2")) as one:
        await one.settle(USED)
    assert {record.request_id: record.choices for record in await Reports(store).records(Filter())} == {
        "r-1": 3,
        "r-2": 1,
    }
    assert await Reports(store).repeated_tokens(Filter()) == 7 * 2


async def test_without_a_reading_what_the_exchange_has_read_counts(ledger: Ledger, store: Store) -> None:
    """As `Upstream.complete` leaves it there; what uses no tokens is recorded with none, exactly."""
    request = exchange(reading=USED, model="other", upstream="llama")
    async with charge(ledger, request) as one:
        await one.settle()
    async with charge(ledger, exchange("r-2"), None) as one:
        await one.settle()
    counted, plain = sorted(await Reports(store).records(Filter()), key=lambda record: record.request_id)
    assert (counted.input_tokens, counted.model, counted.upstream) == (7, "other", "llama")
    assert (plain.input_tokens, plain.output_tokens, plain.certainty) == (0, 0, "exact")


async def test_what_does_not_fit_is_refused_and_leaves_nothing(ledger: Ledger, store: Store) -> None:
    """A surface that counts refusals writes one down; it is free."""
    await Quotas(store).set(ANN, tokens(10))
    refused = charge(ledger, exchange(), Demand(11), booked=11)
    with pytest.raises(QuotaExhausted):
        async with refused:
            pytest.fail("nothing is done")
    assert await Reports(store).records(Filter()) == []
    await refused.refuse(402)
    record = await recorded(store)
    assert (record.outcome, record.status, record.booked) == ("refused", 402, 11)
    assert await used(store) == [0]
    assert ledger.state().held["tokens"] == 0


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (UpstreamFailed("broke"), ("failed", 502, 0)),
        (BadRequest("nonsense"), ("failed", 400, 0)),
        (ValueError("a fault of ours"), ("failed", 0, 0)),
        (ClientGone(), ("aborted", 0, 13)),
        (asyncio.CancelledError(), ("aborted", 0, 13)),
    ],
)
async def test_leaving_without_settling_settles_by_how_it_was_left(
    ledger: Ledger, store: Store, error: BaseException, end: tuple[str, int, int]
) -> None:
    """A client that goes away pays for what was read so far; an error is free; nothing stays held."""
    await Quotas(store).set(ANN, tokens(100))
    with pytest.raises(type(error)):
        async with charge(ledger, exchange(reading=GUESSED)):
            raise error
    record = await recorded(store)
    assert (record.outcome, record.status, *await used(store)) == end
    assert ledger.state().held["tokens"] == 0


async def test_only_the_first_end_counts(ledger: Ledger, store: Store) -> None:
    await Quotas(store).set(ANN, tokens(100))
    with pytest.raises(UpstreamFailed):
        async with charge(ledger, exchange()) as one:
            await one.settle(USED)
            await one.settle(GUESSED)
            raise UpstreamFailed("too late")
    assert (await recorded(store)).outcome == "finished"
    assert await used(store) == [18]


async def test_tokens_sold_by_number_are_charged_by_number(ledger: Ledger, store: Store) -> None:
    """To whoever pays, which need not be who asks; the record has what was used as well."""
    await Quotas(store).set(ANN, tokens(100))
    payer = Principal(1, "ann")
    request = exchange()
    request.principal = Principal(5, "admin", key_id=9)
    async with charge(ledger, request, Demand(50), booked=50, payer=payer) as one:
        await one.settle(USED)
    record = await recorded(store)
    assert (record.user_id, record.key_id, record.booked, record.output_tokens) == (1, None, 50, 11)
    assert await used(store) == [50]


async def test_a_record_that_cannot_be_written_does_not_hide_the_error(
    ledger: Ledger, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for it any more; the ledger writes it when it can."""

    async def away(*_: object) -> None:
        raise StoreError("the store is away")

    with pytest.raises(UpstreamFailed):
        async with charge(ledger, exchange()):
            monkeypatch.setattr(ledger, "settle", away)
            raise UpstreamFailed("broke")


@pytest.mark.parametrize(
    ("dies", "end"), [("working", ("lost", 0)), ("noted", ("lost", 13)), ("settling", ("finished", 18))]
)
async def test_kill_9_leaves_record_and_charge(
    store: Store, store_url: str, tmp_path: Path, dies: str, end: tuple[str, int]
) -> None:
    """Between the provider's answer and the commit, too: what had ended is recorded as it ended."""
    await Quotas(store).set(ANN, tokens(100))
    process = FORK.Process(target=_dying, args=(store_url, tmp_path / "workers", dies))
    process.start()
    await asyncio.to_thread(process.join)
    assert process.exitcode == -9
    async with open_ledger(store, tmp_path / "workers"):
        record = await recorded(store)
        assert (record.outcome, *await used(store)) == end


def _dying(url: str, journals: Path, dies: str) -> None:
    asyncio.run(_die(url, journals, dies))


async def _die(url: str, journals: Path, dies: str) -> None:
    class Hanging:
        """A database that never answers."""

        def commit(self, _entries: object) -> asyncio.Future[None]:
            return asyncio.get_running_loop().create_future()

        async def aclose(self) -> None:
            """Nothing to let go of."""

    async with (
        Store.open(url) as store,
        open_ledger(store, journals, committer=Hanging) as ledger,
        charge(ledger, exchange()) as one,
    ):
        one._request.status = 200
        if dies == "working":
            one._request.status = 0
        if dies == "noted":
            one.note(GUESSED)
        if dies == "settling":
            asyncio.get_running_loop().call_later(0.05, _kill)
            await one.settle(USED)
        _kill()


def _kill() -> None:
    import os
    import signal

    os.kill(os.getpid(), signal.SIGKILL)
