"""The memory of credentials that were proven lately: why authenticating a request costs a microsecond."""

from __future__ import annotations

from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from ..exchange import Principal
    from ..store import Store

V = TypeVar("V")

RECHECK_S = 60.0
"""Seconds after which a principal is looked up again although nobody announced a change: a process may
have died between its commit and its announcement."""


def digest(credential: str) -> bytes:
    """What a credential is remembered by: SHA-256, so that no memory dump gives it away."""
    return sha256(credential.encode("utf-8", "surrogatepass")).digest()


class CredentialCache:
    """Principals by the digest of their credential, and digests known to be bad; both bounded.

    All is forgotten when `store.changes` moves. The two are kept apart so that a flood of bad credentials
    pushes out no good one.
    """

    def __init__(self, store: Store, size: int) -> None:
        self._changes = store.changes
        self._clock = store.clock
        self._size = size
        self._stamp = self._changes.current()
        self._good: OrderedDict[bytes, tuple[Principal, float]] = OrderedDict()
        self._bad: OrderedDict[bytes, bool] = OrderedDict()

    def get(self, key: bytes) -> Principal | None:
        """The principal, if it was proven since the last change and has not expired."""
        if (stamp := self._changes.current()) != self._stamp:
            self._forget(stamp)
            return None
        known = self._good.get(key)
        if known is None:
            return None
        principal, until = known
        if self._clock() >= until:
            del self._good[key]
            return None
        self._good.move_to_end(key)
        return principal

    def bad(self, key: bytes) -> bool | None:
        """Whether this credential was found to be foreign (True) or no longer good since the last change."""
        return self._bad.get(key) if self._changes.current() == self._stamp else None

    def stamp(self) -> int:
        """The stamp to take before looking up and to hand back with what was found."""
        return self._changes.current()

    def keep(self, key: bytes, principal: Principal, until: float | None, stamp: int) -> None:
        """Remember a principal found after `stamp` was taken, until the time its credential expires."""
        latest = self._clock() + RECHECK_S
        self._put(self._good, key, (principal, latest if until is None else min(until, latest)), stamp)

    def keep_bad(self, key: bytes, stamp: int, *, foreign: bool) -> None:
        """Remember that a credential is not good, and whether it ever was."""
        self._put(self._bad, key, foreign, stamp)

    def _put(self, where: OrderedDict[bytes, V], key: bytes, value: V, stamp: int) -> None:
        current = self._changes.current()
        if current != self._stamp:
            self._forget(current)
        if stamp != current:  # it may have changed after it was read
            return
        where[key] = value
        if len(where) > self._size:
            where.popitem(last=False)

    def _forget(self, stamp: int) -> None:
        self._stamp = stamp
        self._good.clear()
        self._bad.clear()
