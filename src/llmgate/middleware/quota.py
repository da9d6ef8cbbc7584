"""What may still be spent: holds it before a request goes on, and lets go of what nobody settled."""

from __future__ import annotations

from functools import lru_cache
from math import inf
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..backends.dialect import DIALECTS
from ..backends.endpoint import Endpoint
from ..backends.output_limit import output_bound
from ..backends.serving import Serving
from ..errors import QuotaExhausted, QuotaHeld, Refusal, answer
from ..exchange import MAX_BODY, BodyLayer, Exchange, Principal, sending
from ..ledger.accounts import Demand
from ..ledger.model import Subject, Unit
from ..ledger.prices import Prices
from ..ratelimit.headers import Standing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.types import ASGIApp, Scope, Send

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest
    from ..backends.serving import ContextOf, TokenCounter
    from ..errors import Header
    from ..ledger.accounts import Hold
    from ..ledger.ledger import Ledger

PLAUSIBLE_OUTPUT = 4_096
"""Tokens that any model may generate: a limit under this is not refused for being too high."""
GENERATING = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES})


class Quota(BodyLayer):
    """Holds what a request may use on every quota of its user, key and organization, before it goes on.

    A request that would pass a limit gets its `max_tokens` lowered to what is left, or is refused with
    `refused_status` (402, or 429 where a surface's guide says so; never with Retry-After); where running requests
    hold what is left, it waits for a moment and is then told to come back (429 with Retry-After). The context length
    (tokens, prompt and answer together) bounds requests that name no bound: `context_length`, or what
    `context` says of the model; where nothing is known of it and there are no `max_output_tokens`, such a
    request, and one with input that is no text, holds all that is left. The hold is settled by `Accounting`
    below; what it leaves open, because nothing was used or nobody accounts, is given back. Where the tightest quota
    of tokens stands is told as OpenAI tells it: `X-RateLimit-Limit-Tokens`, `-Remaining-Tokens`, `-Reset-Tokens`.

    Where a route has several upstreams, `servings` has each of them by its name, and the one that is asked first
    counts: `exchange.upstream`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ledger: Ledger,
        dialect: Dialect = DIALECTS["generic"],
        prices: Prices | None = None,
        upstream: str = "",
        context_length: int | None = None,
        context: ContextOf | None = None,
        max_output_tokens: int | None = None,
        count: TokenCounter | None = None,
        refused_status: int = 429,
        subjects: Callable[[Principal], tuple[Subject, ...]] | None = None,
        servings: Mapping[str, Serving] = MappingProxyType({}),
        max_body: int = MAX_BODY,
    ) -> None:
        super().__init__(app, max_body=max_body)
        self._ledger = ledger
        self._prices = prices or Prices({})
        self._only = servings.get(upstream) or Serving(
            upstream=upstream,
            dialect=dialect,
            context_length=context_length,
            context=context,
            max_output_tokens=max_output_tokens,
            count=count,
        )
        self._servings = servings
        self._refused_status = refused_status
        self._subjects = subjects or subjects_of

    async def see(self, exchange: Exchange, scope: Scope, send: Send) -> None:
        """See `BodyLayer`."""
        assert exchange.model_request is not None, "it is read by now"
        try:
            await self._hold(exchange, exchange.model_request)
        except Refusal as refusal:
            if isinstance(refusal, QuotaExhausted) and not isinstance(refusal, QuotaHeld):
                refusal.answer_status = self._refused_status
                refusal.headers += _refused_by(refusal)
            await answer(scope, send, refusal)
            return
        if exchange.hold is not None and (standing := self._standing(exchange.hold)) is not None:
            send = _telling(standing, exchange, send)
        try:
            await self.go_on(exchange, scope, send)
        finally:
            if exchange.hold is not None:
                exchange.hold.release()

    async def _hold(self, exchange: Exchange, model_request: ModelRequest) -> None:
        """Place the hold, and bound the answer so that it stays within it."""
        if exchange.principal is None:
            return
        serving = self._servings.get(exchange.upstream, self._only)
        dialect, subjects = serving.dialect, self._subjects(exchange.principal)
        output = output_bound(dialect, model_request)
        if output is None and model_request.endpoint in GENERATING:
            output = serving.max_output_tokens
        if await self._ledger.covers(subjects, upstream=serving.upstream, model=exchange.model):
            demand = await self._demand(exchange, model_request, output, serving)
            exchange.hold = await self._ledger.reserve(
                subjects,
                demand,
                upstream=serving.upstream,
                model=exchange.model,
                count=_counting(serving, exchange, model_request),
            )
            if (most := exchange.hold.max_output) is not None:
                # A limit that nobody asked for may be more than the model takes: left out where it is refused.
                exchange.removable = most >= PLAUSIBLE_OUTPUT
                output = most
        if output is not None:
            exchange.limit_output(output, dialect)

    def _standing(self, hold: Hold) -> Standing | None:
        """Where the tightest quota of tokens stands, without this request."""
        accounts = [account for account, _ in hold.parts if account.allotment.unit is Unit.TOKENS]
        if not accounts:
            return None
        least = accounts[0] if len(accounts) == 1 else min(accounts, key=lambda one: one.remaining)
        left = least.valid_until - self._ledger.clock()
        return Standing("tokens", least.allotment.limit, least.remaining, left)

    async def _demand(
        self, exchange: Exchange, model_request: ModelRequest, output: int | None, serving: Serving
    ) -> Demand:
        """What the request may use at the most; of input whose size nobody knows, all that is left."""
        prompt, context = model_request.prompt_bound, await serving.context_of(exchange.model)
        if exchange.targets:
            price = self._prices.dearest(target.model for target in exchange.targets)
        else:
            price = self._prices.of(exchange.model)
        if model_request.endpoint not in GENERATING:
            output = 0
        if context is None:
            if model_request.opaque_input:
                output = None
            return Demand(prompt, output, model_request.choices, price)
        most = context * model_request.prompts
        prompt = most if model_request.opaque_input else min(prompt, most)
        output = context if output is None else min(output, context)
        return Demand(prompt, output, model_request.choices, price)


def _telling(standing: Standing, exchange: Exchange, send: Send) -> Send:
    """`send` that tells on the head of an answer where the quota stands, unless a rate limit leaves fewer tokens."""
    if exchange.tokens_left is not None and exchange.tokens_left < standing.remaining:
        return send
    sent = sending(send)
    sent.put = {**(sent.put or {}), **dict(standing.pair())}
    return sent


def _refused_by(refusal: QuotaExhausted) -> list[Header]:
    if refusal.unit != Unit.TOKENS:
        return []
    return Standing("tokens", refusal.limit, refusal.limit - refusal.used, inf).pair()


def _counting(
    serving: Serving, exchange: Exchange, model_request: ModelRequest
) -> Callable[[], Awaitable[int | None]] | None:
    """Asks the backend how long the prompt is, where it can say so."""
    count = serving.count
    if count is None or model_request.opaque_input:
        return None
    return lambda: count(model_request, exchange.model)


def subjects_of(principal: Principal) -> tuple[Subject, ...]:
    """Everybody whose quotas a principal's requests draw on."""
    return _subjects_of(principal.user_id, principal.key_id, principal.organization_id)


@lru_cache(4096)
def _subjects_of(user_id: int, key_id: int | None, organization_id: int | None) -> tuple[Subject, ...]:
    ids = {"user": user_id, "key": key_id, "organization": organization_id}
    return tuple(Subject(kind, number) for kind, number in ids.items() if number is not None)
