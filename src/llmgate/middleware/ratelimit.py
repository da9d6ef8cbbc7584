"""How much, how fast: requests and tokens per window, and requests at once."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from ..errors import RateLimited, Refusal, StoreError, Unavailable, answer
from ..exchange import exchange_of, sending
from ..ratelimit.limit import Limit, Tightest, TokenWindow, enter_all, window_of
from ..ratelimit.memory import LocalSlots, MemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from limits.aio.storage import Storage
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ..exchange import Exchange, Principal
    from ..ratelimit.limit import RequestWindow, Stand
    from ..ratelimit.memory import Slots
    from ..ratelimit.strategies import Windows

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


class RateLimit:
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
        self._of_keys: dict[Limit, RequestWindow] = {}
        self._slots = slots or LocalSlots()
        self._ipv6_prefix = ipv6_prefix
        self._fail_open = fail_open
        self._clock = clock
        self._concurrent = [limit for limit in limits if limit.what == "concurrent"]
        self._windows = [window_of(limit, windows) for limit in limits if limit.what != "concurrent"]
        self._tokens = [window for window in self._windows if isinstance(window, TokenWindow)]
        self._limits: frozenset[object] = frozenset(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        counted = exchange.counted_by
        exchange.counted_by = counted | self._limits if counted else self._limits
        taken: list[str] = []
        tightest = Tightest()
        own = self._own_windows(exchange)
        try:
            await self._admit(scope, exchange, counted, taken, tightest, own=own)
        except Refusal as refusal:
            await self._release(taken)
            await answer(scope, send, refusal)
            return
        try:
            await self.app(scope, receive, self._telling(tightest, exchange, send))
        finally:
            if taken:
                await self._release(taken)
            if self._tokens or own:
                await self._count_tokens(scope, exchange, counted, own)

    async def count(self, scope: Scope) -> None:
        """Count a request that is under way on these limits as well, but for those that have counted it.

        Raises `RateLimited`, and `Unavailable` where they cannot be checked.
        """
        exchange = exchange_of(scope)
        counted = exchange.counted_by
        exchange.counted_by = counted | self._limits
        taken: list[str] = []
        try:
            own = self._own_windows(exchange)
            await self._admit(scope, exchange, counted, taken, Tightest(), own=own)
        finally:
            await self._release(taken)

    async def _admit(
        self,
        scope: Scope,
        exchange: Exchange,
        counted: Collection[object],
        taken: list[str],
        tightest: Tightest,
        *,
        own: Sequence[RequestWindow],
    ) -> None:
        """Count the request, but not on the limits that have `counted` it already; the slots go to `taken`."""
        try:
            asked = [
                (window, who)
                for window in ((*own, *self._windows) if own else self._windows)
                if not (counted and window.limit in counted)
                and (who := self._who(window.limit, scope, exchange)) is not None
            ]
            for stand in await enter_all(asked):
                if not stand.good:
                    raise self._too_fast(stand)
                tightest.note(stand)
            if self._concurrent:
                await self._take_slots(scope, exchange, counted, taken)
        except StoreError as error:
            if not self._fail_open:
                raise Unavailable("Rate limits cannot be checked at the moment. Try again later.") from error

    def _telling(self, tightest: Tightest, exchange: Exchange, send: Send) -> Send:
        """`send` that tells on the head of an answer where the limits stood when the request came."""
        if tightest.requests is None and tightest.tokens is None:
            return send
        if tightest.tokens is not None:
            exchange.tokens_left = tightest.tokens.remaining
        sent = sending(send)
        sent.put = {**dict(tightest.headers(self._clock())), **(sent.put or {})}
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
        windows = []
        for limit in _own_limits(principal):
            window = self._of_keys.get(limit)
            if window is None:
                window = self._of_keys[limit] = self._window_of(limit)
            windows.append(window)
        if windows:
            exchange.counted_by |= {window.limit for window in windows}
        return windows

    async def _take_slots(
        self, scope: Scope, exchange: Exchange, counted: Collection[object], taken: list[str]
    ) -> None:
        for limit in self._concurrent:
            if counted and limit in counted:
                continue
            who = self._who(limit, scope, exchange)
            if who is not None:
                slot = f"{limit.name}:{limit.per}:{limit.amount}:{who}"
                if not await self._slots.acquire(slot, limit.amount):
                    raise RateLimited(
                        f"Too many requests at once: this {limit.per} may run {limit.amount}.", retry_after=1
                    )
                taken.append(slot)

    def _too_fast(self, stand: Stand) -> RateLimited:
        limit = stand.limit
        wait = max(1, math.ceil(stand.left))
        return RateLimited(
            f"Rate limit reached: {limit.amount} {limit.what} in {limit.window} s for this {limit.per}. "
            f"Try again in {wait} s.",
            retry_after=wait,
            headers=[*stand.standing().tightest(self._clock()), *stand.standing().pair()],
        )

    async def _release(self, taken: list[str]) -> None:
        for slot in taken:
            await self._slots.release(slot)

    async def _count_tokens(
        self, scope: Scope, exchange: Exchange, counted: Collection[object], own: Sequence[RequestWindow]
    ) -> None:
        if exchange.reading is None or not (tokens := exchange.reading.usage.total):
            return
        try:
            for window in (*self._tokens, *(each for each in own if isinstance(each, TokenWindow))):
                if counted and window.limit in counted:
                    continue
                who = self._who(window.limit, scope, exchange)
                if who is not None:
                    await window.count(who, tokens)
        except StoreError as error:  # the answer is out: there is nobody left to refuse
            log.warning("request %s: its tokens do not count on rate limits: %s", exchange.id, error)

    def _who(self, limit: Limit, scope: Scope, exchange: Exchange) -> str | None:
        principal = exchange.principal
        if limit.exempt and principal is not None and principal.key_id in limit.exempt:
            return None
        match limit.per:
            case "key":
                number = principal.key_id if principal else None
            case "user":
                number = principal.user_id if principal else None
            case "organization":
                number = principal.organization_id if principal else None
            case "end_user":
                return None if principal is None else _end_user(principal, exchange.end_user)
            case "ip":
                client = scope.get("client")
                return network_of(client[0], self._ipv6_prefix) if client else "-"
            case "route":
                return exchange.route
            case "gate":
                return "-"
        return None if number is None else str(number)


def _own_limits(principal: Principal) -> list[Limit]:
    """What the key and its organization may do in a minute."""
    key, organization = principal.key_may, principal.organization_may
    found: list[Limit] = []
    if principal.requests_per_minute is not None:
        found.append(Limit("key", "requests", principal.requests_per_minute, name=OF_KEYS))
    if key is not None and key.tokens_per_minute is not None:
        found.append(Limit("key", "tokens", key.tokens_per_minute, name=OF_KEYS))
    if principal.organization_requests_per_minute is not None:
        found.append(
            Limit("organization", "requests", principal.organization_requests_per_minute, name=OF_KEYS)
        )
    if organization is not None and organization.tokens_per_minute is not None:
        found.append(Limit("organization", "tokens", organization.tokens_per_minute, name=OF_KEYS))
    return found


def _end_user(principal: Principal, name: str) -> str:
    """One that is named is another one for each user, or organization, whose keys name it."""
    whose = (
        f"user {principal.user_id}"
        if principal.organization_id is None
        else f"of {principal.organization_id}"
    )
    return f"{whose}: {name}" if name else f"user {principal.user_id}"
