"""Which replica knows a request already: by the head of its prompt, or by who asks. Beside it, the least busy one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import Raw

from .affinity import BLOCK, MAX_BLOCKS, PrefixAffinity, heads_of
from .selection import UNHEALTHY

if TYPE_CHECKING:
    from ..exchange import Exchange
    from .engines.base import UpstreamRequest
    from .replica import Replica
    from .selection import LeastBusy

Heads = Callable[["UpstreamRequest", "Exchange"], Sequence[bytes]]
"""By what a request is known: hashes, from the most common to the most special one."""

_NONE = Raw(b"")


class Choose(Protocol):
    """How `Upstream.send` is told of a replica."""

    def __call__(self, tried: Collection[Replica] = (), *, worst: int = UNHEALTHY) -> Replica | None:
        """See `LeastBusy.choose`."""


class Balance:
    """Sends a request where its like has been, unless that replica is busier than the others by a bound.

    Of the replicas of the best tier alone: one that is down or said that it is busy is no use, whatever it remembers.
    """

    def __init__(self, heads: Heads, *, affinity: PrefixAffinity[str] | None = None) -> None:
        self._heads = heads
        self._affinity = PrefixAffinity[str]() if affinity is None else affinity

    def chooser(self, request: UpstreamRequest, exchange: Exchange, least_busy: LeastBusy) -> Choose:
        """How a replica is chosen for `request`."""
        heads = self._heads(request, exchange)
        return partial(self._choose, heads, least_busy) if heads else least_busy.choose

    def _choose(
        self,
        heads: Sequence[bytes],
        least_busy: LeastBusy,
        tried: Collection[Replica] = (),
        *,
        worst: int = UNHEALTHY,
    ) -> Replica | None:
        replicas = {replica.origin.url: replica for replica in least_busy.best(tried, worst=worst)}
        if not replicas:
            return None
        return replicas[self._affinity.choose(heads, {url: each.in_flight for url, each in replicas.items()})]


class _Prompt(msgspec.Struct):
    """What engines make a prompt of, in the order in which most templates write it."""

    model: Raw = _NONE
    tools: Raw = _NONE
    system: Raw = _NONE
    instructions: Raw = _NONE
    messages: Raw = _NONE
    prompt: Raw = _NONE
    input: Raw = _NONE


_prompt_of = msgspec.json.Decoder(_Prompt).decode


def by_prompt(request: UpstreamRequest, _: Exchange) -> Sequence[bytes]:
    """The head of the prompt, in blocks; nothing for what is no JSON, or short."""
    if not isinstance(request.body, bytes) or len(request.body) < BLOCK:
        return ()
    try:
        found = _prompt_of(request.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ()
    most = BLOCK * MAX_BLOCKS
    parts = (found.tools, found.system, found.instructions, found.messages, found.prompt, found.input)
    return heads_of(b"".join(memoryview(part)[:most] for part in parts), salt=bytes(found.model))


def by_caller(header: str | None) -> Heads:
    """The value of `header`; without one, the end user, else whoever the credential belongs to."""
    name = None if header is None else header.lower().encode()

    def heads(request: UpstreamRequest, exchange: Exchange) -> Sequence[bytes]:
        who = next((value for found, value in request.headers if found.lower() == name), None) or _caller(
            exchange
        )
        return () if who is None else [blake2b(who, digest_size=8).digest()]

    return heads


def _caller(exchange: Exchange) -> bytes | None:
    principal = exchange.principal
    if principal is None:
        return None
    return f"{principal.user_id} {principal.key_id} {exchange.end_user}".encode()
