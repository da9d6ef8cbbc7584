"""How long a prompt and its answer may be together, as the backend's own list of models says."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import msgspec

from ..errors import GateError
from .model_cards import cards_of

if TYPE_CHECKING:
    from .dialect import Dialect
    from .upstream import Upstream

log = logging.getLogger("llmgate.proxy")

TIMEOUT = 2.0
"""Seconds for the whole list, however slowly it comes."""
GOOD_FOR = 300.0
"""Seconds until the list is read again."""
RETRY_AFTER = 10.0
"""Seconds until it is tried again after it could not be read."""


class _Meta(msgspec.Struct):
    n_ctx: int | None = None


class _Card(msgspec.Struct):
    """A model's card: vLLM says `max_model_len`, llama.cpp's server `meta.n_ctx`, hosts `context_length`."""

    id: str = ""
    max_model_len: int | None = None
    context_length: int | None = None
    context_window: int | None = None
    meta: _Meta | None = None

    @property
    def context(self) -> int | None:
        """The tokens that it says a prompt and an answer may have together."""
        of_llama = self.meta.n_ctx if self.meta is not None else None
        return self.max_model_len or of_llama or self.context_length or self.context_window


class ContextLengths:
    """The context lengths of an upstream's models, read when first needed and now and then again.

    Only the first reading is waited for, by whoever needs it; later ones go on beside the requests, which are
    told what is known.
    """

    def __init__(
        self,
        upstream: Upstream,
        dialect: Dialect,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._upstream = upstream
        self._path = dialect.models_path
        self._clock = clock
        self._lengths: Mapping[str, int] = {}
        self._only: int | None = None
        """Where one length is known: a backend with one model serves it under any name."""
        self._stale_at = -float("inf")
        self._was_read = False
        self._reading: asyncio.Task[None] | None = None

    async def __call__(self, model: str) -> int | None:
        """Tokens; None where the backend does not say."""
        if self._reading is None and self._clock() >= self._stale_at:
            self._reading = asyncio.create_task(self._read(), name=f"llmgate-models-{self._upstream.name}")
        if self._reading is not None and not self._was_read:
            await asyncio.shield(self._reading)
        return self._lengths.get(model, self._only)

    def read(self, model: str) -> int | None:
        """What is known, where nothing is to be read now. Raises `LookupError` otherwise."""
        if self._clock() >= self._stale_at:
            raise LookupError
        return self._lengths.get(model, self._only)

    async def _read(self) -> None:
        try:
            lengths = await self._asked()
        finally:
            self._reading = None
            self._was_read = True
        if lengths is not None:
            self._lengths = lengths
            self._only = next(iter(lengths.values())) if len(lengths) == 1 else None
        self._stale_at = self._clock() + (RETRY_AFTER if lengths is None else GOOD_FOR)

    async def _asked(self) -> Mapping[str, int] | None:
        replica = self._upstream.any_ready()
        if replica is None:
            return None
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._upstream.ask(replica, self._path, timeout=TIMEOUT)
            cards = msgspec.convert(cards_of(answer.body()), list[_Card])
        except (GateError, ValueError, TimeoutError) as error:
            log.warning("upstream %s: its models could not be read: %r", self._upstream.name, error)
            return None
        return {card.id: card.context for card in cards if card.context}
