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
from ..ratelimit.headers import pair

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
        model_request, principal = exchange.model_request, exchange.principal
        assert model_request is not None, "it is read by now"
        if principal is not None:
            try:
                if not self._hold_at_once(exchange, model_request, principal):
                    await self._hold(exchange, model_request, principal)
            except Refusal as refusal:
                if isinstance(refusal, QuotaExhausted) and not isinstance(refusal, QuotaHeld):
                    refusal.answer_status = self._refused_status
                    refusal.headers += _refused_by(refusal)
                await answer(scope, send, refusal)
                return
        if (hold := exchange.hold) is None:
            await self.go_on(exchange, scope, send)
            return
        try:
            await self.go_on(exchange, scope, self._telling(hold, exchange, send))
        finally:
            hold.release()

    def _hold_at_once(self, exchange: Exchange, model_request: ModelRequest, principal: Principal) -> bool:
        """Do what `_hold` does, if nobody has to be asked for that; whether it is done."""
        serving = self._servings.get(exchange.upstream, self._only)
        accounts = self._ledger.accounts_of(self._subjects(principal), serving.upstream, exchange.model)
        if accounts is None:
            return False
        output = _output_of(model_request, serving)
        if accounts:
            try:
                context = serving.context_read(exchange.model)
            except LookupError:
                return False
            hold = self._ledger.hold_at_once(accounts, self._demand(exchange, model_request, output, context))
            if hold is None:
                return False
            if hold.max_output is not None and _counting(serving, exchange, model_request) is not None:
                hold.release()  # the prompt's true length may leave more room for the answer
                return False
            exchange.hold = hold
            output = _lowered(exchange, hold, output)
        if output is not None:
            exchange.limit_output(output, serving.dialect)
        return True

    async def _hold(self, exchange: Exchange, model_request: ModelRequest, principal: Principal) -> None:
        """Place the hold, and bound the answer so that it stays within it."""
        serving, subjects = self._servings.get(exchange.upstream, self._only), self._subjects(principal)
        output = _output_of(model_request, serving)
        if await self._ledger.covers(subjects, upstream=serving.upstream, model=exchange.model):
            context = await serving.context_of(exchange.model)
            hold = exchange.hold = await self._ledger.reserve(
                subjects,
                self._demand(exchange, model_request, output, context),
                upstream=serving.upstream,
                model=exchange.model,
                count=_counting(serving, exchange, model_request),
            )
            output = _lowered(exchange, hold, output)
        if output is not None:
            exchange.limit_output(output, serving.dialect)

    def _demand(
        self, exchange: Exchange, model_request: ModelRequest, output: int | None, context: int | None
    ) -> Demand:
        """What the request may use at the most; of input whose size nobody knows, all that is left."""
        prompt, is_opaque = model_request.prompt_bound, model_request.opaque_parts > 0
        if exchange.targets:
            price = self._prices.dearest(target.model for target in exchange.targets)
        else:
            price = self._prices.of(exchange.model)
        if model_request.endpoint not in GENERATING:
            output = 0
        if context is None:
            return Demand(prompt, None if is_opaque else output, model_request.choices, price)
        most = context * model_request.sequences
        if is_opaque or most < prompt:
            prompt = most
        if output is None or context < output:
            output = context
        return Demand(prompt, output, model_request.choices, price)

    def _telling(self, hold: Hold, exchange: Exchange, send: Send) -> Send:
        """`send` that tells on the head of an answer where the tightest quota of tokens stands, without this request.

        A rate limit that leaves fewer tokens is told of instead.
        """
        least, remaining = None, 0  # most have one quota of tokens
        for account, _ in hold.parts:
            if account.allotment.unit is Unit.TOKENS:
                left = account.remaining
                if least is None or left < remaining:
                    least, remaining = account, left
        if least is None or (exchange.tokens_left is not None and exchange.tokens_left < remaining):
            return send
        sent, until = sending(send), least.valid_until
        told = pair(
            "tokens",
            least.allotment.limit,
            remaining,
            until if until == inf else until - self._ledger.clock(),
        )
        sent.put = told if sent.put is None else sent.put | told
        return sent


def _output_of(model_request: ModelRequest, serving: Serving) -> int | None:
    """How many tokens each choice may have, by the request or else by the operator; None where neither says so."""
    output = output_bound(serving.dialect, model_request)
    if output is None and model_request.endpoint in GENERATING:
        return serving.max_output_tokens
    return output


def _lowered(exchange: Exchange, hold: Hold, output: int | None) -> int | None:
    """`output`, or what `hold` has room for."""
    if (most := hold.max_output) is None:
        return output
    # A limit that nobody asked for may be more than the model takes: left out where it is refused.
    exchange.removable = most >= PLAUSIBLE_OUTPUT
    return most


def _refused_by(refusal: QuotaExhausted) -> list[Header]:
    if refusal.unit != Unit.TOKENS:
        return []
    return [*pair("tokens", refusal.limit, refusal.limit - refusal.used, inf).items()]


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
