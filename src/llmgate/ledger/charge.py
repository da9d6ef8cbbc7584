"""One way to charge: hold before the work, note while it runs, settle or release after it, exactly once.

    async with ledger.charge(exchange, subjects, Demand(prompt_tokens, 256), upstream="vllm", ...) as charge:
        answer = await upstream.complete(exchange, call.receive, "/v1/chat/completions", body)
        await charge.settle()                       # nothing that dies forgets it when this returns

Entering holds the demand on every quota and opens the journal's slot; from then on not even kill -9 forgets
the request. What leaves the block without having settled is settled by how it left: a client that has gone is
charged what was read so far, an error is free. Nobody else builds a usage record.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol, Self

import msgspec

from ..errors import ClientGone, Refusal, StoreError
from ..usage.model import Certainty, Reading, Usage
from .model import Outcome, UsageRecord
from .prices import FREE, Prices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .accounts import Demand, Hold
    from .model import Subject
    from .reservations import CountTokens
    from .slot import Slot

log = logging.getLogger("llmgate.ledger")

NOTHING = Reading(Usage(0, 0), Certainty.ESTIMATED)
NOT_METERED = Reading(Usage(0, 0), Certainty.EXACT)
"""Of work that uses no tokens."""
UNPRICED = Prices({})
NOTHING_USED = (0, 0, 0, 0, 0)
"""Tokens of input and output, those of them from a cache and for thoughts, and the cost."""


class Payer(Protocol):
    """Who a record says has made the request."""

    @property
    def user_id(self) -> int | None:
        """The user."""

    @property
    def key_id(self) -> int | None:
        """The API key, if one was shown."""

    @property
    def organization_id(self) -> int | None:
        """The organization that it was made for, if any."""


class Billed(Protocol):
    """What a charge has to know of a request; `Exchange` is one. Times are seconds of a monotonic clock."""

    id: str
    started: float
    first_byte: float | None
    route: str
    surface: str
    upstream: str
    model: str
    asked: str
    end_user: str
    status: int
    sent: float | None
    queued: bool
    reading: Reading | None
    hold: Hold | None

    @property
    def copies(self) -> int:
        """Answers asked for of each prompt."""

    @property
    def principal(self) -> Payer | None:
        """Who makes it."""


class ChargeLedger(Protocol):
    """The part of `Ledger` that a charge stands on, and its clocks."""

    clock: Callable[[], float]
    timer: Callable[[], float]

    async def reserve(
        self,
        subjects: Iterable[Subject],
        demand: Demand,
        *,
        upstream: str = "",
        model: str = "",
        count: CountTokens | None = None,
    ) -> Hold:
        """See `Ledger`."""

    def begin(self, record: UsageRecord, hold: Hold | None = None) -> Slot:
        """See `Ledger`."""

    def end(
        self, record: UsageRecord, hold: Hold | None = None, slot: Slot | None = None
    ) -> Awaitable[None] | None:
        """See `Ledger`."""


class Charge:
    """The charge of one request; made by `Ledger.charge`, which says what its arguments are."""

    __slots__ = (
        "_booked",
        "_demand",
        "_draft",
        "_endpoint",
        "_ledger",
        "_model",
        "_payer",
        "_prices",
        "_request",
        "_slot",
        "_subjects",
        "_upstream",
        "settled",
    )

    def __init__(
        self,
        ledger: ChargeLedger,
        request: Billed,
        subjects: Iterable[Subject] = (),
        demand: Demand | None = None,
        *,
        upstream: str = "",
        model: str = "",
        endpoint: str = "other",
        prices: Prices | None = None,
        booked: int | None = None,
        payer: Payer | None = None,
    ) -> None:
        self._ledger = ledger
        self._request = request
        self._subjects = subjects
        self._demand = demand
        self._upstream = upstream
        self._model = model
        self._endpoint = endpoint
        self._prices = prices or UNPRICED
        self._booked = booked
        self._payer = payer
        self._draft: UsageRecord | None = None
        self._slot: Slot | None = None
        self.settled = False
        """Whether the ledger has been told how the request ended."""

    @property
    def hold(self) -> Hold | None:
        """What is held: by this charge, or by a layer above it."""
        return self._request.hold

    async def __aenter__(self) -> Self:
        """Raises `QuotaExhausted` and `Unavailable` as `Ledger.reserve` does."""
        if self._demand is not None:
            self._request.hold = await self._ledger.reserve(
                self._subjects, self._demand, upstream=self._upstream, model=self._model
            )
        if self._slot is None:
            try:
                self.open()
            except BaseException:
                self._release()
                raise
        return self

    def open(self) -> None:
        """Open the slot for a request whose hold, if any, stands already. Raises `Unavailable`."""
        self._draft = self._drafted()
        self._slot = self._ledger.begin(self._draft, self._request.hold)

    def note(self, reading: Reading) -> None:
        """What has been used so far: what is charged should this process die now."""
        if self._slot is not None and not self.settled:
            self._slot.note(self._record(Outcome.LOST, reading, self._request.status))

    async def settle(
        self,
        reading: Reading | None = None,
        *,
        outcome: Outcome = Outcome.FINISHED,
        status: int | None = None,
        cost: int | None = None,
    ) -> None:
        """Write the record and charge it, as `Ledger.settle` does. Only the first call counts.

        `reading` is what the answer has used, without it what the exchange has read. `cost`, in millionths of
        the currency unit, takes the place of what its tokens cost: for work that is paid by something else.
        Raises `StoreError` if it could not be written in time: it is written later.
        """
        if (written := self.end(reading, outcome=outcome, status=status, cost=cost)) is not None:
            await written

    def end(
        self,
        reading: Reading | None = None,
        *,
        outcome: Outcome = Outcome.FINISHED,
        status: int | None = None,
        cost: int | None = None,
    ) -> Awaitable[None] | None:
        """`settle`, for who has no time to lose: at once, but for what it returns to be awaited, if anything."""
        if self.settled:
            return None
        self.settled = True
        request = self._request
        if reading is None:
            reading = NOT_METERED if request.reading is None else request.reading
        record = self._record(outcome, reading, request.status if status is None else status)
        if cost is not None:
            record = msgspec.structs.replace(record, cost=cost)
        return self._ledger.end(record, request.hold, self._slot)

    async def refuse(self, status: int) -> None:
        """Record that the request was turned down with `status`; free. For surfaces that count refusals."""
        self._release()
        await self.settle(NOT_METERED, outcome=Outcome.REFUSED, status=status)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self.settled:
            return
        try:
            if isinstance(error, (ClientGone, asyncio.CancelledError)) and not self._request.queued:
                await self.settle(self._request.reading or NOTHING, outcome=Outcome.ABORTED)
            else:
                status = error.answer_status if isinstance(error, Refusal) else self._request.status
                await self.settle(NOT_METERED, outcome=Outcome.FAILED, status=status)
        except StoreError as fault:  # nobody waits for it; it is kept and written later
            log.warning("request %s: %s", self._request.id, fault)

    def _release(self) -> None:
        if self._request.hold is not None:
            self._request.hold.release()

    def _drafted(self) -> UsageRecord:
        """The record of a request that has not used anything yet."""
        request = self._request
        payer = self._payer or request.principal
        # In the order of its fields: named, they would take ten times as long.
        return UsageRecord(
            request.id,
            self._ledger.clock(),
            *((None, None, None) if payer is None else (payer.user_id, payer.key_id, payer.organization_id)),
            request.surface,
            request.route,
            request.upstream or self._upstream,
            request.model or self._model,
            self._endpoint,
            *NOTHING_USED,
            Certainty.ESTIMATED,
            Outcome.LOST,
            0,
            self._ledger.timer() - request.started,
            None,
            self._booked,
            request.asked,
            None,
            request.end_user,
            request.copies,
        )

    def _bounded(self, usage: Usage) -> Usage:
        """What was used: a guess takes a prompt for no longer than its bytes or the backend's tokenizer allow."""
        hold = self._request.hold
        if hold is None or hold.input is None:
            return usage
        return msgspec.structs.replace(usage, input_tokens=min(usage.input_tokens, hold.input))

    def _record(self, outcome: Outcome, reading: Reading, status: int) -> UsageRecord:
        if self._draft is None:
            self._draft = self._drafted()
        request, ledger, usage = self._request, self._ledger, reading.usage
        if reading.certainty == Certainty.ESTIMATED:
            usage = self._bounded(usage)
        started, first_byte, model = request.started, request.first_byte, request.model or self._model
        price, now, engine = self._prices.of(model), ledger.timer(), reading.engine_seconds
        if engine is None and request.sent is not None:
            engine = max(0.0, now - request.sent)
        return msgspec.structs.replace(
            self._draft,
            at=ledger.clock(),
            upstream=request.upstream or self._upstream,
            model=model,
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cached_tokens=usage.cached_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            cost=0 if price is FREE else price.of(usage, engine or 0.0),
            certainty=reading.certainty,
            outcome=outcome,
            status=status,
            duration=now - started,
            first_byte=None if first_byte is None else first_byte - started,
            engine_seconds=engine,
            choices=request.copies,
        )
