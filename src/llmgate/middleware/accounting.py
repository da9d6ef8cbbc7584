"""What was used: shows the answer to a meter on its way out and writes the usage record before it ends."""

from __future__ import annotations

import logging
import time
from types import MappingProxyType
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..errors import AnswerCut, StoreError, Unavailable, answer
from ..exchange import MAX_BODY, BodyLayer, push_of, whole_of
from ..ledger.charge import NOTHING
from ..ledger.model import Outcome
from ..ledger.prices import Prices
from ..usage.hidden import Silence, with_hidden, with_unseen
from ..usage.meter import inject, meter_for, unanswered
from ..usage.model import Certainty

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping

    from starlette.types import ASGIApp, Message, Scope, Send

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest
    from ..errors import Header
    from ..exchange import Exchange, Push
    from ..ledger.charge import Charge
    from ..ledger.ledger import Ledger
    from ..usage.model import Meter, Reading

log = logging.getLogger("llmgate.ledger")

OF_LENGTH = frozenset({b"content-length", b"content-encoding"})
"""Headers that are no longer true of an answer from which something is taken out."""
NOTE_EVERY = 0.1
"""Seconds between two notes in the journal of what a stream has used so far."""
_LENGTH_OF_TYPE, _LENGTH_OF_CODING = len(b"content-type"), len(b"content-encoding")


class Accounting(BodyLayer):
    """Records every request of an endpoint that uses tokens, once, and charges it to the hold above.

    On streams it asks the backend for usage, as far as `dialect` knows how, and takes out again what the
    client did not ask for. The end of an answer (its last piece, or the event that tells the client that
    there is no more) is sent only when the record is in the store. If it cannot be written in time, the
    answer is broken off: what a client has seen finished is in the ledger. While no records can be written,
    requests are refused. `upstream` names the one below in the records of requests that never reached it. Where a
    route has several upstreams, `dialects` has that of each by its name.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ledger: Ledger,
        dialect: Dialect,
        upstream: str = "",
        prices: Prices | None = None,
        dialects: Mapping[str, Dialect] = MappingProxyType({}),
        max_body: int = MAX_BODY,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(app, max_body=max_body)
        self.ledger = ledger
        self.dialect = dialect
        self.upstream = upstream
        self.prices = prices or Prices({})
        self.timer = timer
        self._dialects = dialects

    def dialect_of(self, upstream: str) -> Dialect:
        """How the upstream that answers reports usage."""
        return self._dialects.get(upstream, self.dialect)

    async def see(self, exchange: Exchange, scope: Scope, send: Send) -> None:
        """See `BodyLayer`."""
        model_request = exchange.model_request
        assert model_request is not None, "it is read by now"
        if model_request.stream:
            exchange.edit(lambda each: inject(each, model_request), self.dialect_of(exchange.upstream))
        exchange.plain_answer = True
        charge = self.ledger.charge(
            exchange, upstream=self.upstream, endpoint=model_request.endpoint, prices=self.prices
        )
        try:
            charge.open()  # what it holds is what the quota layer above has put aside
        except Unavailable as refusal:
            await answer(scope, send, refusal)
            return
        if not model_request.stream:
            exchange.drain = self.dialect_of(exchange.upstream).plain_drain
        metered = _Metered(self, exchange, model_request, send, charge)
        try:
            await self.app(exchange.hand_on(scope, self.app), exchange.receive, metered)
        except StoreError:
            await metered.fail(scope)
        finally:
            if not charge.settled:
                async with charge:
                    await metered.close()


class _Done:
    """What is awaited where there is nothing to wait for."""

    def __await__(self) -> Generator[None]:
        return iter(())  # type: ignore[return-value]  # a generator takes three times as long


_DONE = _Done()


class _Metered:
    """One answer on its way through the meter.

    Of an answer that is no event stream, the last piece seen is held until the next one or the end comes:
    a client that knows the length must not see the end before the record is written. What a stream has
    used so far is noted in the ledger's journal now and then, for the case that the process dies.
    """

    __slots__ = (
        "_charge", "_drain", "_exchange", "_held", "_layer", "_meter", "_noted", "_push", "_request", "_send",
        "_silence", "_start", "_timer",
    )  # fmt: skip

    _push: Push

    def __init__(
        self,
        layer: Accounting,
        exchange: Exchange,
        model_request: ModelRequest,
        send: Send,
        charge: Charge,
    ) -> None:
        self._layer = layer
        self._timer = layer.timer
        self._exchange = exchange
        self._request = model_request
        self._send = send
        self._meter: Meter | None = None
        self._start: Message | None = None
        self._held = b""
        self._drain = 0.0
        self._noted = 0.0
        self._silence: Silence | None = None
        self._charge = charge

    def __call__(self, message: Message) -> Awaitable[None]:
        """ASGI's `send`; not a coroutine of its own, as one more would be paid for every chunk."""
        kind = message["type"]
        if kind == "http.response.body":
            return self._body(message)
        return self._begin(message) if kind == "http.response.start" else self._send(message)

    def whole(self, status: int, headers: list[Header], body: bytes) -> Awaitable[None] | None:
        """An answer that is there from its head to its end; see `whole_of`."""
        headers, meter = self._metered(status, headers)
        if body and self._exchange.first_byte is None:
            self._exchange.first_byte = self._timer()
        out = meter.feed(body) if body else body
        out += meter.end()
        self._start = {"type": "http.response.start", "status": status, "headers": headers}
        if (written := self._settle(finished=True)) is not None:
            return self._whole_after(written, status, headers, out)
        self._start = None
        return whole_of(self._send)(status, headers, out)

    async def _whole_after(
        self, written: Awaitable[None], status: int, headers: list[Header], body: bytes
    ) -> None:
        await written
        self._start = None
        if (rest := whole_of(self._send)(status, headers, body)) is not None:
            await rest

    def _begin(self, message: Message) -> Awaitable[None]:
        came = message.get("headers", ())
        headers, meter = self._metered(message["status"], came)
        if headers is not came:
            message = {**message, "headers": headers}
        self._push = push_of(self._send)
        if not meter.streams:  # the head waits for what comes with it
            self._start = message
            return _DONE
        return self._send(message)

    def _metered(self, status: int, headers: list[Header]) -> tuple[list[Header], Meter]:
        """What an answer with this head goes through, and the head as it goes on."""
        exchange = self._exchange
        exchange.status = status
        kind, coding = _about(headers)
        dialect = self._layer.dialect_of(exchange.upstream)
        meter = self._meter = meter_for(
            dialect,
            _limited(self._request, exchange.output_limit),
            status=status,
            content_type=kind,
            content_encoding=coding,
        )
        drain = dialect.drain if self._request.stream else dialect.plain_drain
        self._drain = drain if meter.awaits_usage else 0.0
        exchange.drain = self._drain
        if meter.streams:
            self._noted = self._timer()
            if dialect.hidden_rate:
                self._silence = Silence(self._noted)
        if meter.strips:
            headers = [pair for pair in headers if pair[0].lower() not in OF_LENGTH]
        return headers, meter

    def _look_ahead(self, meter: Meter) -> None:
        """Whoever leaves before the count has come is waited for by nobody: the answer is read on for a moment."""
        self._exchange.drain = self._drain if meter.awaits_usage else 0.0

    async def _send_start(self) -> None:
        if self._start is not None:
            start, self._start = self._start, None
            await self._send(start)

    def _body(self, message: Message) -> Awaitable[None]:
        body, more, meter = message.get("body", b""), message.get("more_body", False), self._meter
        assert meter is not None, "a body follows the start of the answer"
        if body and self._exchange.first_byte is None:
            self._exchange.first_byte = self._timer()
        out = meter.feed(body) if body else body
        if not more:
            out += meter.end()
        if not meter.streams:
            return self._piece(out, more=more)
        self._look_ahead(meter)
        return self._chunk(out, meter, more=more)

    def push(self, body: bytes) -> Awaitable[None] | None:
        """A piece of a stream that has begun, and is not its last, at once; see `push_of`."""
        meter = self._meter
        if meter is None or not meter.streams or self._start is not None or self._exchange.first_byte is None:
            return self._body({"type": "http.response.body", "body": body, "more_body": True})
        out = meter.feed(body) if body else body
        if self._drain:
            self._look_ahead(meter)
        if meter.finished or not out:
            return self._chunk(out, meter, more=True)
        now = self._timer()
        if now - self._noted >= NOTE_EVERY:
            self._note(meter, now)
        return self._push(out)

    async def _chunk(self, out: bytes, meter: Meter, *, more: bool) -> None:
        """Of a stream: it goes on at once, unless it tells the client that nothing more is to come."""
        if not self._charge.settled and (meter.finished or not more):
            if (written := self._settle(finished=True)) is not None:
                await written
        else:
            now = self._timer()
            if now - self._noted >= NOTE_EVERY:
                self._note(meter, now)
        if out or not more:
            await self._send_start()
            await self._send({"type": "http.response.body", "body": out, "more_body": more})

    async def _piece(self, out: bytes, *, more: bool) -> None:
        """Of any other answer: the last one seen is held back, as it may turn out to be the end."""
        if not more:
            out = self._held + out if self._held else out
            if (written := self._settle(finished=True)) is not None:
                await written
        elif out:
            out, self._held = self._held, out
        if out or not more:
            await self._send_start()
            await self._send({"type": "http.response.body", "body": out, "more_body": more})

    def _note(self, meter: Meter, now: float) -> None:
        self._noted = now
        if (reading := meter.reading(finished=False)) is not None:
            if self._silence is not None:
                self._silence.note(reading.usage.output_tokens, now)
            self._charge.note(reading)

    def _settle(self, *, finished: bool) -> Awaitable[None] | None:
        if self._charge.settled:
            return None
        exchange, meter = self._exchange, self._meter
        if meter is None:  # what still waits for a place at an engine has used nothing
            reading: Reading | None = None if exchange.queued else unanswered(self._request)
        else:  # an app that hears that its client has left may end a plain answer in order, and say nothing in it
            reading = meter.reading(finished=finished and (meter.streams or not exchange.client_left))
            if reading is not None and not finished:
                reading = self._with_thoughts(reading, meter)
        if reading is not None and exchange.client_left:
            reading = self._with_unseen(reading, finished=finished)
        if meter is not None and meter.model and not exchange.model:
            exchange.model = meter.model
        exchange.reading = reading
        exchange.drain = 0.0
        return self._charge.end(reading or NOTHING, outcome=self._outcome(reading, finished=finished))

    def _with_thoughts(self, reading: Reading, meter: Meter) -> Reading:
        """Who leaves while thoughts run that are in no chunk, and before their count, is charged for them."""
        silence, exchange = self._silence, self._exchange
        if silence is None or not exchange.client_left or not meter.awaits_usage or meter.failed:
            return reading
        now = self._timer()
        silence.note(reading.usage.output_tokens, now)
        request = _limited(self._request, exchange.output_limit)
        return with_hidden(self._layer.dialect_of(exchange.upstream), request, reading, silence.seconds(now))

    def _with_unseen(self, reading: Reading, *, finished: bool) -> Reading:
        """Who leaves a plain answer before it has come is charged for what may have been made of it."""
        exchange, request = self._exchange, self._request
        if not exchange.client_left or request.stream or exchange.sent is None:
            return reading
        if reading.certainty is not Certainty.ESTIMATED or (finished and reading.usage.output_tokens):
            return reading
        dialect = self._layer.dialect_of(exchange.upstream)
        seconds = self._timer() - exchange.sent
        return with_unseen(dialect, _limited(request, exchange.output_limit), reading, seconds)

    def _outcome(self, reading: Reading | None, *, finished: bool) -> Outcome:
        exchange, meter = self._exchange, self._meter
        if exchange.queued or (meter is not None and exchange.status >= 400):
            return Outcome.FAILED
        if meter is not None and meter.failed:
            exchange.broke_off = True
            return Outcome.ABORTED if reading is not None and reading.usage.output_tokens else Outcome.FAILED
        return Outcome.ABORTED if exchange.client_left or not finished else Outcome.FINISHED

    async def fail(self, scope: Scope) -> None:
        """The record could not be written: refuse if nothing was sent yet, else break the answer off."""
        if self._start is None:
            raise AnswerCut("its usage record could not be written in time")
        await answer(
            scope, self._send, Unavailable("The ledger cannot be written at the moment. Try again later.")
        )

    async def close(self) -> None:
        """However it ended: what was not settled is settled with what the meter has seen."""
        try:
            if (written := self._settle(finished=False)) is not None:
                await written
        except StoreError as error:
            # Nobody waits for this answer any more; the record is kept and written later.
            log.warning("request %s: %s", self._exchange.id, error)


def _limited(model_request: ModelRequest, most: int | None) -> ModelRequest:
    """The request with the limits that it went up with: the gate bounds each choice by `most` tokens, if at all."""
    limits = model_request.limits
    if most is None or most < 1:
        return model_request
    for number in limits.values():
        if not 0 < number <= most:
            break
    else:
        if limits:
            return model_request
    limits = {name: min(number, most) if number > 0 else most for name, number in limits.items()}
    return replace(model_request, limits=limits or {"max_tokens": most})


def _about(headers: Iterable[Header]) -> tuple[bytes | None, bytes]:
    """What an answer's headers say of its body: its type, if any, and its coding."""
    kind, coding = None, b""
    for name, value in headers:
        if len(name) == _LENGTH_OF_TYPE and name.lower() == b"content-type":
            kind = value
        elif len(name) == _LENGTH_OF_CODING and name.lower() == b"content-encoding":
            coding = value
    return kind, coding
