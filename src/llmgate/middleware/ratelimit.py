"""How much, how fast: requests and tokens per window, and requests at once."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from ..errors import RateLimited, Refusal, StoreError, Unavailable, answer
from ..exchange import StackLayer, exchange_of, sending
from ..ratelimit.limit import ConcurrentRequests, Limit, TokenWindow, count_tokens, enter_all, told, window_of
from ..ratelimit.memory import LocalSlots, MemoryStorage
from ..ratelimit.strategies import WindowsAtHand, WindowsTogether

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from limits.aio.storage import Storage
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..exchange import Exchange, Principal
    from ..ratelimit.limit import Asked, Per, RequestWindow, Stand, What
    from ..ratelimit.strategies import Slots, Windows

log = logging.getLogger("llmgate")

OF_KEYS = "of keys"
"""The name under which keys' own limits are counted, apart from those of gate.toml."""


@lru_cache(4096)
def network_of(address: str, ipv6_prefix: int) -> str:
    """Whose `address` is: an IPv4 address itself, an IPv6 network of so many bits, or a name as it stands."""
    if ":" not in address:
        return address
    try:
        ip = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip, ipv6_prefix), strict=False))


class RateLimit(StackLayer):
    """Refuses what comes too fast with 429 and Retry-After, and tells on every answer where the tightest
    limit stands: `X-RateLimit-Limit`, `-Remaining`, and `-Reset` (seconds since the epoch). The tightest of requests
    and that of tokens are told as OpenAI tells them, too: `X-RateLimit-Limit-Requests` and so on. What the app says
    under these names gives way.

    Limits per key, user or organization pass over requests that have none; `per = "ip"` counts the peer's
    address as the server reports it, of IPv6 its first `ipv6_prefix` bits: who has one address has them all. A
    request counts on the limits before the one that refuses it, and once on each, though there be several layers
    that have it. `storage` is where windows are: any asynchronous
    one of the `limits` library; while it does not answer, requests are refused with 503, unless `fail_open`.
    With `of_keys`, what a key and its organization may ask and use in a minute holds as well.
    Without `storage` and `slots`, the process counts for itself. Raises `ValueError` for a limit that cannot be kept.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        limits: Sequence[Limit],
        storage: Storage | Windows | None = None,
        slots: Slots | None = None,
        fail_open: bool = False,
        ipv6_prefix: int = 64,
        of_keys: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.app = app
        self.collects_edits = getattr(app, "collects_edits", False)
        windows = MemoryStorage() if storage is None else storage
        self._window_of = partial(window_of, windows=windows) if of_keys else None
        self._of_keys: dict[tuple[int | None, ...], tuple[RequestWindow, ...]] = {}
        self._at_hand = windows if isinstance(windows, WindowsAtHand) else None
        self._slots = slots or LocalSlots()
        together = windows if isinstance(windows, WindowsTogether) else None
        self._together = together if together is not None and together.slots is self._slots else None
        self._ipv6_prefix = ipv6_prefix
        self._fail_open = fail_open
        self._clock = clock
        self._concurrent = [
            ConcurrentRequests(one, self._slots) for one in limits if one.what == "concurrent"
        ]
        self._windows = [window_of(limit, windows) for limit in limits if limit.what != "concurrent"]
        self._tokens = [window for window in self._windows if isinstance(window, TokenWindow)]
        self._limits: frozenset[object] = frozenset(limits)
        self._lasts = bool(self._concurrent or self._tokens)

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI, without a coroutine of its own where nothing is waited for or left to do at the end."""
        if scope["type"] != "http":
            return self.app(scope, receive, send)
        exchange = exchange_of(scope)
        counted, own = exchange.counted_by, self._own_windows(exchange)
        if self._at_hand is None or self._lasts or own:
            return self._hold(scope, receive, send, exchange, counted, own)
        try:
            windows = self._windows_of(exchange, counted, own)
            stands = self._enter_at_hand(self._at_hand, windows, scope, exchange)
        except Refusal as refusal:
            return answer(scope, send, refusal)
        return self.app(scope, receive, self._telling(stands, exchange, send) if stands else send)

    async def _hold(  # noqa: PLR0917 - what `__call__` has found
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        exchange: Exchange,
        counted: frozenset[object],
        own: Sequence[RequestWindow],
    ) -> None:
        taken: list[str] = []
        try:
            windows = self._windows_of(exchange, counted, own)
            if self._at_hand is not None:
                stands = self._enter_at_hand(self._at_hand, windows, scope, exchange)
                windows = ()
            else:
                stands = []
            if windows or self._concurrent:
                stands += await self._enter(windows, scope, exchange, counted, taken)
        except Refusal as refusal:
            self._release(taken)
            await answer(scope, send, refusal)
            return
        if stands:
            send = self._telling(stands, exchange, send)
        try:
            await self.app(scope, receive, send)
        finally:
            if taken:
                self._release(taken)
            if (self._tokens or own) and exchange.reading is not None:
                await self._count_tokens(scope, exchange, counted, own)

    async def count(self, scope: Scope) -> None:
        """Count a request that is under way on these limits as well, but for those that have counted it.

        Raises `RateLimited`, and `Unavailable` where they cannot be checked.
        """
        exchange = exchange_of(scope)
        counted = exchange.counted_by
        taken: list[str] = []
        try:
            windows = self._windows_of(exchange, counted, self._own_windows(exchange))
            await self._enter(windows, scope, exchange, counted, taken)
        finally:
            self._release(taken)

    def _windows_of(
        self, exchange: Exchange, counted: frozenset[object], own: Sequence[RequestWindow]
    ) -> Sequence[RequestWindow]:
        """The windows that count this request now; none that have `counted` it already."""
        exchange.counted_by = counted | self._limits if counted else self._limits
        windows: Sequence[RequestWindow] = self._windows
        if own:
            exchange.counted_by |= {window.limit for window in own}
            windows = [*own, *windows]
        return [window for window in windows if window.limit not in counted] if counted else windows

    def _enter_at_hand(
        self, at_hand: WindowsAtHand, windows: Sequence[RequestWindow], scope: Scope, exchange: Exchange
    ) -> list[Stand]:
        """Count the request where nobody waits for it. Raises `RateLimited`."""
        stands = []
        for window in windows:
            who = self._who(window.limit, scope, exchange)
            if who is not None:
                stand = window.enter_at_hand(at_hand, who)
                if not stand.good:
                    raise self._too_fast(stand)
                stands.append(stand)
        return stands

    async def _enter(
        self,
        windows: Sequence[RequestWindow],
        scope: Scope,
        exchange: Exchange,
        counted: Collection[object],
        taken: list[str],
    ) -> list[Stand]:
        """Count the request in all of these, and take its slots, which go to `taken`.

        Raises `RateLimited`, and `Unavailable` unless it fails open.
        """
        asked: list[Asked] = []
        for window in windows:
            if (who := self._who(window.limit, scope, exchange)) is not None:
                asked.append((window, who))
        for slots in self._concurrent:
            if slots.limit not in counted and (who := self._who(slots.limit, scope, exchange)) is not None:
                asked.append((slots, who))
        if not asked:
            return []
        try:
            stands = await enter_all(asked, self._together, taken)
        except StoreError as error:
            if self._fail_open:
                return []
            raise Unavailable("Rate limits cannot be checked at the moment. Try again later.") from error
        if not stands[-1].good:
            raise self._too_fast(stands[-1])
        return [stand for stand in stands if stand.limit.what != "concurrent"] if taken else stands

    def _telling(self, stands: Sequence[Stand], exchange: Exchange, send: Send) -> Send:
        """`send` that tells on the head of an answer where the limits stood when the request came."""
        for stand in stands:
            if stand.limit.what == "tokens":
                left = exchange.tokens_left
                exchange.tokens_left = stand.remaining if left is None else min(left, stand.remaining)
        sent = sending(send)
        headers = told(stands, self._clock())
        if sent.put:
            headers.update(sent.put)
        sent.put = headers
        return sent

    def _own_windows(self, exchange: Exchange) -> Sequence[RequestWindow]:
        """The windows of limits that a key or its organization has of its own; most have none."""
        principal = exchange.principal
        if self._window_of is None or principal is None:
            return ()
        if (
            principal.requests_per_minute is None
            and principal.key_may is None
            and principal.organization_id is None
        ):
            return ()
        what = (
            principal.requests_per_minute,
            None if principal.key_may is None else principal.key_may.tokens_per_minute,
            principal.organization_requests_per_minute,
            None if principal.organization_may is None else principal.organization_may.tokens_per_minute,
        )
        windows = self._of_keys.get(what)
        if windows is None:
            windows = self._of_keys[what] = tuple(map(self._window_of, _own_limits(*what)))
        return windows

    def _too_fast(self, stand: Stand) -> RateLimited:
        limit = stand.limit
        if limit.what == "concurrent":
            return RateLimited(
                f"Too many requests at once: this {limit.per} may run {limit.amount}.", retry_after=1
            )
        wait = max(1, math.ceil(stand.left))
        return RateLimited(
            f"Rate limit reached: {limit.amount} {limit.what} in {limit.window} s for this {limit.per}. "
            f"Try again in {wait} s.",
            retry_after=wait,
            headers=[*stand.standing().tightest(self._clock()), *stand.standing().pair()],
        )

    def _release(self, taken: list[str]) -> None:
        for slot in taken:
            self._slots.release(slot)

    async def _count_tokens(
        self, scope: Scope, exchange: Exchange, counted: Collection[object], own: Sequence[RequestWindow]
    ) -> None:
        tokens = 0 if exchange.reading is None else exchange.reading.usage.total
        if not tokens:
            return
        spent = []
        for window in (*self._tokens, *(each for each in own if isinstance(each, TokenWindow))):
            if window.limit not in counted and (who := self._who(window.limit, scope, exchange)) is not None:
                spent.append((window, who))

        def failed(error: StoreError) -> None:  # the answer is out: there is nobody left to refuse
            log.warning("request %s: its tokens do not count on rate limits: %s", exchange.id, error)

        if spent:
            await count_tokens(spent, tokens, self._together, failed)

    def _who(self, limit: Limit, scope: Scope, exchange: Exchange) -> str | int | None:
        principal = exchange.principal
        if limit.exempt and principal is not None and principal.key_id in limit.exempt:
            return None
        match limit.per:
            case "key" | "user" | "organization" | "end_user":
                return None if principal is None else _who_of(limit.per, principal, exchange)
            case "ip":
                client = scope.get("client")
                return network_of(client[0], self._ipv6_prefix) if client else "-"
            case "route":
                return exchange.route
            case "gate":
                return "-"


def _who_of(per: Per, principal: Principal, exchange: Exchange) -> str | int | None:
    match per:
        case "key":
            return principal.key_id
        case "user":
            return principal.user_id
        case "organization":
            return principal.organization_id
    return _end_user(principal, exchange.end_user)


def _own_limits(
    requests: int | None,
    tokens: int | None,
    organization_requests: int | None,
    organization_tokens: int | None,
) -> list[Limit]:
    """What a key and its organization may do in a minute."""
    found: list[tuple[Per, What, int | None]] = [
        ("key", "requests", requests),
        ("key", "tokens", tokens),
        ("organization", "requests", organization_requests),
        ("organization", "tokens", organization_tokens),
    ]
    return [Limit(per, what, amount, name=OF_KEYS) for per, what, amount in found if amount is not None]


def _end_user(principal: Principal, name: str) -> str:
    """One that is named is another one for each user, or organization, whose keys name it."""
    whose = (
        f"user {principal.user_id}"
        if principal.organization_id is None
        else f"of {principal.organization_id}"
    )
    return f"{whose}: {name}" if name else f"user {principal.user_id}"
