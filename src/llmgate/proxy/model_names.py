"""What each upstream says it serves, asked now and then with the gate's own key.

Two things come of it that no request need wait for: names of models for the metrics, and whether the key is
good. A health path says neither: vLLM's answers without a key.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, NamedTuple, Self

import msgspec

from ..backends.model_cards import Card, cards_of
from ..background import running
from .engines.base import UpstreamError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from .replica import Replica
    from .upstreams import Upstream

logger = logging.getLogger("llmgate.proxy")

EVERY_S = 60.0
SOONER_S = 10.0
"""After a round in which no replica has answered with a list."""
TIMEOUT_S = 10.0
MAX_LENGTH = 128
"""Characters of a name."""
MAX_CARD = 16 * 1024
"""Bytes of what is said of one model."""


class ModelNames:
    """`async with ModelNames({upstream: path}):` keeps `Upstream.model_names` up to date.

    It also notes of each replica whether it takes the gate's own key.
    """

    def __init__(
        self,
        upstreams: Mapping[Upstream, str],
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._upstreams = upstreams
        self._sleep = sleep
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        watching = (self._watch(upstream) for upstream in self._upstreams)
        await self._running.enter_async_context(running(*watching, name="llmgate-models"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._running.aclose()

    async def _watch(self, upstream: Upstream) -> None:
        while True:
            await self._sleep(EVERY_S if await self.ask(upstream) else SOONER_S)

    async def ask(self, upstream: Upstream) -> bool:
        """One round over the replicas of `upstream`; returns whether one of them has shown its list."""
        path = self._upstreams[upstream]
        answers = await asyncio.gather(
            *(ask_models(upstream, replica, path) for replica in upstream.replicas)
        )
        shown = [listed.cards for listed in answers if listed.cards is not None]
        if shown:
            upstream.lists_models({name: cards[name] for cards in shown for name in sorted(cards)})
        return bool(shown)


class Listed(NamedTuple):
    """What a replica has answered to the question for its models: `cards` by their names, None if it is no list."""

    cards: dict[str, Card] | None
    good: bool
    message: str


async def ask_models(upstream: Upstream, replica: Replica, path: str) -> Listed:
    """The models of one replica. Notes whether it takes the gate's own key."""
    try:
        answer = await upstream.ask(replica, path, timeout=TIMEOUT_S)
    except UpstreamError as error:
        return Listed(None, False, f"{type(error).__name__}: {error}")
    found = f"status {answer.status}"
    if answer.status in (401, 403):
        replica.refuses_key(upstream.name, f"{path}: {found}")
    if not answer.is_success:
        return Listed(None, False, found)
    replica.takes_key(upstream.name)
    try:
        cards = cards_of(upstream.secrets.masked(answer.content))
    except ValueError:
        return Listed(None, True, found)
    return Listed({card["id"]: card for card in cards if _is_usable(card["id"], card)}, True, found)


def _is_usable(name: str, card: Card) -> bool:
    return 0 < len(name) <= MAX_LENGTH and name.isprintable() and len(msgspec.json.encode(card)) <= MAX_CARD
