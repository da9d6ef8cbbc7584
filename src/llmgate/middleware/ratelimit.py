"""How much, how fast: requests and tokens per window, and requests at once."""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Literal

import msgspec

from ..errors import Header, RateLimited, Refusal, StoreError, Unavailable, answer
from ..exchange import Exchange, Principal, exchange_of
from ..ratelimit.headers import Standing, with_headers
from ..ratelimit.memory import LocalSlots, MemoryStorage
from ..ratelimit.strategies import FixedWindow, MovingWindow, Window, WindowItem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from limits.aio.storage import Storage
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from ..ratelimit.memory import Slots
    from ..ratelimit.strategies import Windows

log = logging.getLogger("llmgate")

Per = Literal["key", "user", "organization", "ip", "route", "gate"]
What = Literal["requests", "tokens", "concurrent"]
WHAT: tuple[What, ...] = ("requests", "tokens", "concurrent")
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


@dataclass(frozen=True, slots=True)
class Limit:
    """At most `amount` of `what` for each `per`, in every `window` seconds (unless it counts concurrency).

    Requests of a window are counted before they run. Tokens are counted when they are known: a window is
    closed once its tokens are used up, by requests that were let in before. A `moving` window is the last
    `window` seconds at any moment; only requests can be counted in one. Limits that are otherwise alike are
    counted apart where `name` differs.
    """

    per: Per
    what: What
    amount: int
    window: int = 60
    moving: bool = False
    name: str = ""
    exempt: frozenset[int] = frozenset()
    """Ids of keys that it does not hold for: what a monitor or a test of conformance uses."""


class _Stand(msgspec.Struct, frozen=True):
    """Where one limit stands for one request; there is room again in `left` seconds."""

    limit: Limit
    good: bool
    remaining: int
    left: float

    @classmethod
    def of(cls, limit: Limit, window: Window, *, good: bool) -> _Stand:
        return cls(limit, good, max(0, limit.amount - window.used), window.left)

    def standing(self) -> Standing:
        return Standing(self.limit.what, self.limit.amount, self.remaining, self.left)


class _Tightest:
    """Of the limits that a request has passed, those that leave least: of requests, and of tokens."""

    __slots__ = ("requests", "tokens")

    def __init__(self) -> None:
        self.requests: _Stand | None = None
        self.tokens: _Stand | None = None

    def note(self, stand: _Stand) -> None:
        if stand.limit.what == "tokens":
            if self.tokens is None or stand.remaining < self.tokens.remaining:
                self.tokens = stand
        elif self.requests is None or stand.remaining < self.requests.remaining:
            self.requests = stand

    def headers(self, now: float, tokens_left: int | None) -> list[Header]:
        """What is told of them. Where a quota leaves fewer tokens, its own layer tells of those."""
        standings = [stand.standing() for stand in (self.requests, self.tokens) if stand is not None]
        if not standings:
            return []
        told = min(standings, key=lambda one: one.remaining).tightest(now)
        for one in standings:
            if one.what != "tokens" or tokens_left is None or one.remaining < tokens_left:
                told += one.pair()
        return told


class RateLimit:
    """Refuses what comes too fast with 429 and Retry-After, and tells on every answer where the tightest
    limit stands: `X-RateLimit-Limit`, `-Remaining`, and `-Reset` (seconds since the epoch). The tightest of requests
    and that of tokens are told as OpenAI tells them, too: `X-RateLimit-Limit-Requests` and so on. What the app says
    under these names gives way.

    Limits per key, user or organization pass over requests that have none; `per = "ip"` counts the peer's
    address as the server reports it, of IPv6 its first `ipv6_prefix` bits: who has one address has them all. A
    request counts on the limits before the one that refuses it. `storage` is where windows are: any asynchronous
    one of the `limits` library; while it does not answer, requests are refused with 503, unless `fail_open`.
    With `of_keys`, what a key may ask in a minute (`Principal.requests_per_minute`) holds as well.
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
        self._window_of = partial(_window, windows=windows) if of_keys else None
        self._of_keys: dict[int, _OfRequests] = {}
        self._slots = slots or LocalSlots()
        self._ipv6_prefix = ipv6_prefix
        self._fail_open = fail_open
        self._clock = clock
        self._concurrent = [limit for limit in limits if limit.what == "concurrent"]
        self._windows = [_window(limit, windows) for limit in limits if limit.what != "concurrent"]
        self._tokens = [window for window in self._windows if isinstance(window, _OfTokens)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange = exchange_of(scope)
        taken: list[str] = []
        tightest = _Tightest()
        try:
            await self._admit(scope, exchange, taken, tightest)
        except Refusal as refusal:
            await self._release(taken)
            await answer(scope, send, refusal)
            return
        try:
            await self.app(scope, receive, self._telling(tightest, exchange, send))
        finally:
            if taken:
                await self._release(taken)
            if self._tokens:
                await self._count_tokens(scope, exchange)

    async def _admit(self, scope: Scope, exchange: Exchange, taken: list[str], tightest: _Tightest) -> None:
        try:
            for window in self._windows_for(exchange.principal):
                who = self._who(window.limit, scope, exchange)
                if who is not None:
                    stand = await window.enter(who)
                    if not stand.good:
                        raise self._too_fast(stand)
                    tightest.note(stand)
            if self._concurrent:
                await self._take_slots(scope, exchange, taken)
        except StoreError as error:
            if not self._fail_open:
                raise Unavailable("Rate limits cannot be checked at the moment. Try again later.") from error

    def _telling(self, tightest: _Tightest, exchange: Exchange, send: Send) -> Send:
        """`send` that tells on the head of an answer where the limits stood when the request came."""
        if tightest.requests is None and tightest.tokens is None:
            return send
        now = self._clock()

        def tell(message: Message) -> Awaitable[None]:
            if message["type"] == "http.response.start":
                told = tightest.headers(now, exchange.tokens_left)
                message = {**message, "headers": with_headers(message.get("headers", ()), told)}
            return send(message)

        return tell

    def _windows_for(self, principal: Principal | None) -> Sequence[_OfRequests]:
        """The windows of everybody, and the one of a key that has a limit of its own."""
        if self._window_of is None or principal is None or principal.requests_per_minute is None:
            return self._windows
        amount = principal.requests_per_minute
        own = self._of_keys.get(amount)
        if own is None:
            own = self._of_keys[amount] = self._window_of(Limit("key", "requests", amount, name=OF_KEYS))
        return [own, *self._windows]

    async def _take_slots(self, scope: Scope, exchange: Exchange, taken: list[str]) -> None:
        for limit in self._concurrent:
            who = self._who(limit, scope, exchange)
            if who is not None:
                slot = f"{limit.name}:{limit.per}:{limit.amount}:{who}"
                if not await self._slots.acquire(slot, limit.amount):
                    raise RateLimited(
                        f"Too many requests at once: this {limit.per} may run {limit.amount}.", retry_after=1
                    )
                taken.append(slot)

    def _too_fast(self, stand: _Stand) -> RateLimited:
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

    async def _count_tokens(self, scope: Scope, exchange: Exchange) -> None:
        if exchange.reading is None or not (tokens := exchange.reading.usage.total):
            return
        try:
            for window in self._tokens:
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
            case "ip":
                client = scope.get("client")
                return network_of(client[0], self._ipv6_prefix) if client else "-"
            case "route":
                return exchange.route
            case "gate":
                return "-"
        return None if number is None else str(number)


class _OfRequests:
    """A fixed window of requests: it opens with the first one."""

    def __init__(self, limit: Limit, windows: Windows | Storage) -> None:
        self.limit = limit
        self._item = WindowItem(limit.amount, limit.window, limit.name, limit.what, limit.per)
        self._fixed = FixedWindow(windows)

    async def enter(self, who: str) -> _Stand:
        """Count one request of `who`."""
        window = await self._fixed.count(self._item, who)
        return _Stand.of(self.limit, window, good=window.used <= self.limit.amount)


class _OfTokens(_OfRequests):
    """A fixed window of tokens, which are counted afterwards."""

    async def enter(self, who: str) -> _Stand:
        """See whether any are left."""
        window = await self._fixed.look(self._item, who)
        return _Stand.of(self.limit, window, good=window.used < self.limit.amount)

    async def count(self, who: str, tokens: int) -> None:
        """Count what a request of `who` has used."""
        await self._fixed.count(self._item, who, cost=tokens)


class _OfLately(_OfRequests):
    """The requests of the last seconds, one entry for each."""

    def __init__(self, limit: Limit, windows: Windows | Storage) -> None:
        super().__init__(limit, windows)
        self._moving = MovingWindow(windows)

    async def enter(self, who: str) -> _Stand:
        good, window = await self._moving.enter(self._item, who)
        return _Stand.of(self.limit, window, good=good)


def _window(limit: Limit, windows: Windows | Storage) -> _OfRequests:
    if limit.what == "tokens":
        if limit.moving:
            raise ValueError("tokens cannot be counted in a moving window: their number is known too late")
        return _OfTokens(limit, windows)
    return _OfLately(limit, windows) if limit.moving else _OfRequests(limit, windows)
