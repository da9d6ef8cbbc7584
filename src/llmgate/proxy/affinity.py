"""Which replica has most of a prompt in its prefix cache, and when it is too busy to be asked.

Engines keep the states of prompts that they have read, in blocks: a chat's next turn, or a system prompt that many
share, costs a replica that has them a fraction of what it costs another one. So a request goes to the replica that
saw the longest head of its prompt, unless that one is busier than the others by a bound; heads that nobody has seen are
spread by rendezvous hashing, so that all workers of all hosts agree without talking (Thaler and Ravishankar, 1998),
within the same bound (Mirrokni, Thorup and Zadimoghaddam: consistent hashing with bounded loads, 2016).

Nothing here does input or output.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from hashlib import blake2b
from typing import Generic, TypeVar

R = TypeVar("R", bound=Hashable)

BLOCK = 512
"""Bytes of a prompt that are looked at together: some hundred tokens, a few blocks of an engine's cache."""
MAX_BLOCKS = 32
MIN_BOUND = 2
"""Where little is asked, one request alone does not send the next one away: engines answer several at once."""
MAX_HEADS = 65_536
"""Heads that are remembered, the latest used: a few megabytes."""
LOAD_FACTOR = 1.25
"""How much busier than the mean a replica may be to be asked for its cache's sake."""


def heads_of(prompt: bytes | memoryview, *, salt: bytes = b"") -> list[bytes]:
    """A hash for each whole block of a prompt's head, each over all bytes before it too. `salt`: the model's name.

    Short prompts have none: there is nothing in them that a cache would save.
    """
    heads = []
    digest = salt
    for start in range(0, min(len(prompt) - len(prompt) % BLOCK, BLOCK * MAX_BLOCKS), BLOCK):
        digest = blake2b(bytes(prompt[start : start + BLOCK]), key=digest[:64], digest_size=8).digest()
        heads.append(digest)
    return heads


class PrefixAffinity(Generic[R]):
    """Remembers which replica saw which head. One for each upstream and process."""

    def __init__(self, *, load_factor: float = LOAD_FACTOR, max_heads: int = MAX_HEADS) -> None:
        self._load_factor = load_factor
        self._max_heads = max_heads
        self._seen: OrderedDict[bytes, R] = OrderedDict()

    def __len__(self) -> int:
        """How many heads are remembered."""
        return len(self._seen)

    def choose(self, heads: Sequence[bytes], in_flight: Mapping[R, int]) -> R:
        """One of the replicas in `in_flight`, which says how many requests each has; it has seen `heads` now."""
        chosen = self._with_longest_head(heads, in_flight)
        if chosen is None:
            chosen = least_busy_of_hash(heads, in_flight, self._bound(in_flight))
        for head in heads:
            self._seen[head] = chosen
            self._seen.move_to_end(head)
        while len(self._seen) > self._max_heads:
            self._seen.popitem(last=False)
        return chosen

    def _with_longest_head(self, heads: Sequence[bytes], in_flight: Mapping[R, int]) -> R | None:
        bound = self._bound(in_flight)
        for head in reversed(heads):
            replica = self._seen.get(head)
            if replica is not None and in_flight.get(replica, bound) < bound:
                return replica
        return None

    def _bound(self, in_flight: Mapping[R, int]) -> int:
        """A replica with fewer requests than this may take one more; the mean behind it counts that one, too."""
        return max(MIN_BOUND, math.ceil(self._load_factor * (sum(in_flight.values()) + 1) / len(in_flight)))


def least_busy_of_hash(heads: Sequence[bytes], in_flight: Mapping[R, int], bound: int) -> R:
    """Where a head that nobody has seen goes: the first in its own order of replicas that has room within `bound`.

    Without a head, the least busy one.
    """
    if not heads:
        return min(in_flight, key=lambda replica: in_flight[replica])
    free = [replica for replica, busy in in_flight.items() if busy < bound] or list(in_flight)
    return max(
        free, key=lambda replica: blake2b(repr(replica).encode(), key=heads[0], digest_size=8).digest()
    )
