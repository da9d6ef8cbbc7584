"""A stamp that moves whenever identity or quotas change, in this process or in another.

What the hot path remembers (a proven key, a verified session) is good while the stamp stands still, so
that `llmgate key revoke` in one process stops a key in the running gate at once, at the cost of one
memory read per request instead of a query.
"""

from __future__ import annotations

import mmap
import os
import secrets
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection

SIZE = 8  # bytes: one aligned machine word, so that a reader never sees half of a new stamp


class ChangeStamp(Protocol):
    """Tells that something changed, not what. Stamps are only ever compared for equality."""

    def current(self) -> int:
        """The stamp that stands now."""

    def bump(self) -> None:
        """Move the stamp. Called after the commit: whoever sees the new stamp also sees the change."""

    async def announce(self, conn: AsyncConnection) -> None:
        """Tell the processes that `bump` does not reach, when the transaction of `conn` commits."""


class LocalChangeStamp:
    """A stamp that only this process sees."""

    def __init__(self) -> None:
        self._stamp = 0

    def current(self) -> int:
        """The stamp that stands now."""
        return self._stamp

    def bump(self) -> None:
        """Move the stamp."""
        self._stamp += 1

    async def announce(self, conn: AsyncConnection) -> None:
        """Nobody else looks."""


class FileChangeStamp:
    """A stamp in a memory-mapped file, for every process of this machine that maps the same file.

    The stamp is random rather than counted: two processes that bump at once need no lock between them,
    since either's stamp differs from all that anybody has seen.
    """

    def __init__(self, path: Path) -> None:
        """Map `path`, created readable for its owner alone. Raises OSError if that cannot be done."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        try:
            if os.fstat(descriptor).st_size < SIZE:
                os.ftruncate(descriptor, SIZE)
            self._map = mmap.mmap(descriptor, SIZE)
        finally:
            os.close(descriptor)
        self._word = memoryview(self._map).cast("Q")

    def current(self) -> int:
        """The stamp that stands now."""
        return self._word[0]

    def bump(self) -> None:
        """Move the stamp, for every process that maps the file."""
        self._word[0] = secrets.randbits(8 * SIZE)

    async def announce(self, conn: AsyncConnection) -> None:
        """Whoever looks at the file sees `bump`."""

    def close(self) -> None:
        """Unmap the file; the file itself stays."""
        self._word.release()
        self._map.close()
