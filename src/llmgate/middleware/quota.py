"""What may still be spent: holds it before a request goes on, and lets go of what nobody settled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from ..backends.dialect import DIALECTS
from ..backends.endpoint import Endpoint
from ..backends.output_limit import limit, output_bound
from ..backends.request import endpoint_of
from ..errors import ClientGone, QuotaExhausted, QuotaHeld, Refusal, answer
from ..exchange import Exchange, Principal, exchange_of
from ..ledger.accounts import Demand
from ..ledger.model import Subject
from ..ledger.prices import Prices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..backends.dialect import Dialect
    from ..backends.request import ModelRequest
    from ..ledger.ledger import Ledger

PLAUSIBLE_OUTPUT = 4_096
"""Tokens that any model may generate: a limit under this is not refused for being too high."""
GENERATING = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES, Endpoint.MESSAGES})


class TokenCounter(Protocol):
    """Asks a backend how many tokens a prompt has."""

    def __call__(self, model_request: ModelRequest) -> Awaitable[int | None]:
        """The prompt's tokens; None where the backend cannot say."""


class ContextOf(Protocol):
    """Tells a model's context length."""

    def __call__(self, model: str) -> Awaitable[int | None]:
        """Tokens of prompt and answer together; None where it is not known."""


class Quota:
    """Holds what a request may use on every quota of its user, key and organization, before it goes on.

    A request that would pass a limit gets its `max_tokens` lowered to what is left, or is refused with
    `refused_status` (402, or 429 where a surface's guide says so; never with Retry-After); where running requests
    hold what is left, it waits for a moment and is then told to come back (429 with Retry-After). The context length
    (tokens, prompt and answer together) bounds requests that name no bound: `context_length`, or what
    `context` says of the model; where nothing is known of it and there are no `max_output_tokens`, such a
    request, and one with input that is no text, holds all that is left. The hold is settled by `Accounting`
    below; what it leaves open, because nothing was used or nobody accounts, is given back.
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
        max_body: int = 16 * 1024 * 1024,
    ) -> None:
        self.app = app
        self._ledger = ledger
        self._dialect = dialect
        self._prices = prices or Prices({})
        self._upstream = upstream
        self._context_length = context_length
        self._context = context
        self._max_output_tokens = max_output_tokens
        self._count = count
        self._refused_status = refused_status
        self._subjects = subjects or subjects_of
        self._max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or endpoint_of(scope["method"], scope["path"]) is Endpoint.OTHER:
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        try:
            model_request = exchange.model_request or await exchange.read(scope, receive, self._max_body)
            changes = await self._hold(exchange, model_request)
        except QuotaExhausted as refusal:
            if not isinstance(refusal, QuotaHeld):
                refusal.answer_status = self._refused_status
            await answer(scope, send, refusal)
            return
        except Refusal as refusal:
            await answer(scope, send, refusal)
            return
        except ClientGone:
            return
        try:
            if changes:
                scope = exchange.edit(scope, changes)
            await self.app(scope, exchange.receive, send)
        finally:
            if exchange.hold is not None:
                exchange.hold.release()

    async def _hold(self, exchange: Exchange, model_request: ModelRequest) -> dict[str, object]:
        """Place the hold; returns what has to change in the body for the answer to stay within it."""
        if exchange.principal is None:
            return {}
        dialect, subjects = self._dialect, self._subjects(exchange.principal)
        output = output_bound(dialect, model_request)
        if output is None and model_request.endpoint in GENERATING:
            output = self._max_output_tokens
        if not await self._ledger.covers(subjects, upstream=self._upstream, model=exchange.model):
            return {} if output is None else limit(dialect, model_request, output)
        demand = self._demand(model_request, output, await self._context_of(exchange.model), exchange.model)
        count = self._count
        exchange.hold = await self._ledger.reserve(
            subjects,
            demand,
            upstream=self._upstream,
            model=exchange.model,
            count=None if count is None or model_request.opaque_input else lambda: count(model_request),
        )
        if (most := exchange.hold.max_output) is None:
            return {} if output is None else limit(dialect, model_request, output)
        return self._limit_to(most, exchange, model_request)

    def _limit_to(self, most: int, exchange: Exchange, model_request: ModelRequest) -> dict[str, object]:
        """Write the limit `most` into a request that asks for more, or for as much as there is.

        A limit that nobody asked for may be more than the model takes: the relay leaves it out where it is
        refused (`Exchange.removable`).
        """
        changes = limit(self._dialect, model_request, most)
        if most >= PLAUSIBLE_OUTPUT:
            exchange.removable = next((name for name in changes if name not in model_request.limits), None)
        return changes

    async def _context_of(self, model: str) -> int | None:
        if self._context_length is not None or self._context is None:
            return self._context_length
        return await self._context(model)

    def _demand(
        self, model_request: ModelRequest, output: int | None, context: int | None, model: str
    ) -> Demand:
        """What the request may use at the most; of input whose size nobody knows, all that is left."""
        prompt = model_request.prompt_bound
        if model_request.endpoint not in GENERATING:
            output = 0
        if context is None:
            if model_request.opaque_input:
                output = None
            return Demand(prompt, output, model_request.choices, self._prices.of(model))
        most = context * model_request.prompts
        prompt = most if model_request.opaque_input else min(prompt, most)
        output = context if output is None else min(output, context)
        return Demand(prompt, output, model_request.choices, self._prices.of(model))


def subjects_of(principal: Principal) -> tuple[Subject, ...]:
    """Everybody whose quotas a principal's requests draw on."""
    subjects = [Subject("user", principal.user_id)]
    if principal.key_id is not None:
        subjects.append(Subject("key", principal.key_id))
    if principal.organization_id is not None:
        subjects.append(Subject("organization", principal.organization_id))
    return tuple(subjects)
