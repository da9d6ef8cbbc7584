"""Numbers that several processes count together, and that outlive each of them.

Every process writes rows of doubles into a memory-mapped file of its own, at the price of a memory write;
whoever is scraped reads the files of all. A file belongs to the process that holds its lock. A process
that starts takes over the file of one that died and counts on from there, so that counters never fall and
there are never more files than there were processes at once.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from array import array
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import msgspec

FIRST_SIZE = 65_536
_HEADER = struct.Struct("=II")  # the size of the name, and how many doubles follow it
_DOUBLE = 8

Key = tuple[str, ...]
"""What a row counts: the name of a metric, and the values of its labels."""


class Row(NamedTuple):
    """The numbers under one key in one process. What `lives` no more has counts, but no state."""

    key: Key
    values: memoryview[float]
    lives: bool


class SharedValues:
    """The rows of this process, and a look at those of the others. Made by `Cells.open`."""

    def __init__(self, page: _Page | None = None) -> None:
        self._page = page
        self._rows: dict[Key, memoryview[float]] = {}
        if page is not None:
            self._rows.update(page.rows())

    @classmethod
    def open(cls, folder: Path | None) -> SharedValues:
        """Rows in a file in `folder`, which the other processes use too; in plain memory without a folder."""
        return cls(None if folder is None else _Page.claim(folder))

    def row(self, key: Key, width: int = 1) -> memoryview[float]:
        """The row under `key`, made of zeros where there is none yet, to be written in place."""
        row = self._rows.get(key)
        if row is None or len(row) != width:
            row = _plain(width) if self._page is None else self._page.add(key, width)
            self._rows[key] = row
        return row

    def own(self) -> Iterator[Row]:
        """The rows of this process."""
        for key, values in list(self._rows.items()):
            yield Row(key, values, True)

    def all(self) -> Iterator[Row]:
        """The rows of every process, the dead included."""
        yield from self.own()
        if self._page is not None:
            yield from self._page.others()

    def close(self) -> None:
        """Let the file go; what was counted stays in it."""
        if self._page is not None:
            self._page.close()


class _Page:
    """One file: records of header, name (padded to 8 bytes) and doubles; a header of zeros ends them."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._end = 0
        self._grow(max(FIRST_SIZE, os.fstat(descriptor).st_size))

    @classmethod
    def claim(cls, folder: Path) -> _Page:
        """The first file in `folder` that no living process holds."""
        for number in count():
            path = folder / f"{number}.shared_values"
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if _locked(descriptor, fcntl.LOCK_EX):
                return cls(path, descriptor)
            os.close(descriptor)
        raise AssertionError("count() does not end")

    def rows(self) -> Iterator[tuple[Key, memoryview[float]]]:
        """What an earlier owner has left."""
        for key, values, end in _records(memoryview(self._map)):
            self._end = end
            yield key, values

    def add(self, key: Key, width: int) -> memoryview[float]:
        """Append a row. Readers see all of it or nothing: the header, which makes it count, comes last."""
        name = _padded(msgspec.json.encode(key))
        start = self._end + _HEADER.size + len(name)
        end = start + width * _DOUBLE
        while end + _HEADER.size > len(self._map):
            self._grow(2 * len(self._map))
        self._map[self._end + _HEADER.size : start] = name
        _HEADER.pack_into(self._map, self._end, len(name), width)
        self._end = end
        return memoryview(self._map)[start:end].cast("d")

    def others(self) -> Iterator[Row]:
        """The rows in the files of the other processes."""
        for path in sorted(self._path.parent.glob("*.shared_values")):
            if path == self._path:
                continue
            with path.open("rb") as file:
                lives = not _locked(file.fileno(), fcntl.LOCK_SH)
                content = memoryview(file.read())
            for key, values, _ in _records(content):
                yield Row(key, values, lives)

    def close(self) -> None:
        fcntl.flock(
            self._descriptor, fcntl.LOCK_UN
        )  # mappings keep descriptors, and so the lock, of their own
        os.close(self._descriptor)

    def _grow(self, size: int) -> None:
        # Rows that were handed out stay in the old mapping: it shows the same memory.
        os.ftruncate(self._descriptor, size)
        self._map = mmap.mmap(self._descriptor, size)


def _records(content: memoryview[int]) -> Iterator[tuple[Key, memoryview[float], int]]:
    """Key, values and end of every record."""
    at = 0
    while at + _HEADER.size <= len(content):
        size, width = _HEADER.unpack_from(content, at)
        start = at + _HEADER.size + size
        end = start + width * _DOUBLE
        if not size or end > len(content):
            return
        name = msgspec.json.decode(content[at + _HEADER.size : start], type=list[str])
        yield tuple(name), content[start:end].cast("d"), end
        at = end


def _padded(name: bytes) -> bytes:
    return name + b" " * (-len(name) % _DOUBLE)


def _plain(width: int) -> memoryview[float]:
    return memoryview(array("d", bytes(width * _DOUBLE)))


def _locked(descriptor: int, kind: int) -> bool:
    """Whether the lock could be had, which it cannot while the file's owner lives."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
