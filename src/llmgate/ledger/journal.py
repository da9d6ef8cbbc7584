"""What the requests of this process have used so far, kept where a killed process leaves it behind.

Each worker has one file, mapped into memory: a slot of `SLOT` bytes for every request that is under way.
Admitting a request writes its slot, the last counts are noted there while it runs, its record is when it
ends, and the slot is freed once that is committed. The worker holds a lock on its file for as long as it
lives; who can take that lock has found a dead worker's journal, and writes what is in it into the ledger:

- a request that had ended is recorded as it ended, field for field;
- one that was still running is recorded as `lost` and charged with what had been noted when the process
  died, as if its client had left then; with nothing if no answer had begun, since failed requests are free.

A write to the map is a memory write, in the kernel's hands at once: it survives `kill -9`, not a power cut.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ..errors import StoreError
from .model import Charge, Entry, Pledge, UsageRecord
from .slot import SLOT, Slot, read_slot, texts_of

if TYPE_CHECKING:
    from .slot import Place

log = logging.getLogger("llmgate.ledger")

MAGIC = b"llmgate journal 2\n"
SUFFIX = ".journal"
SEGMENT = 256 * SLOT  # a multiple of the granularity of mappings on every platform
MAX_SEGMENTS = 256


class Journal:
    """The journal of this worker, in `directory`, which is made if it is not there. Raises `StoreError`.

    `database` is whose requests are in it: gates of several databases may have one directory.
    """

    def __init__(self, directory: Path, worker: str, database: str = "") -> None:
        self._database = database
        self._path = directory / f"{worker}{SUFFIX}"
        self._maps: list[mmap.mmap] = []
        self._free: list[Place] = []
        with _translated(self._path):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            unnamed = directory / f".{worker}"  # nobody takes the lock of a file that has no journal's name
            self._fd = os.open(unnamed, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._grow()
            self.rename(worker)
            unnamed.rename(self._path)

    def rename(self, worker: str) -> None:
        """Note under which name this worker leases from now on."""
        header = MAGIC + worker.encode() + b"\0" + self._database.encode()
        self._maps[0][:SLOT] = header[: SLOT - 1].ljust(SLOT, b"\0")

    def open(self, record: UsageRecord, pledges: Sequence[Pledge]) -> Slot:
        """A slot for a request that is admitted now, with what it holds. Raises `StoreError` if there is none."""
        texts = texts_of(record, pledges)
        if not self._free:
            with _translated(self._path):
                self._grow()
        return Slot(self, self._free.pop(), record, texts)

    def take_back(self, place: Place) -> None:
        """Use this place again."""
        self._free.append(place)

    def close(self) -> None:
        """Let go of the file. It is removed, unless some request in it is not in the ledger yet."""
        if len(self._free) == len(self._maps) * (SEGMENT // SLOT) - 1:
            self._path.unlink(missing_ok=True)
        self._free.clear()
        for area in self._maps:
            area.close()
        os.close(self._fd)

    def _grow(self) -> None:
        if len(self._maps) == MAX_SEGMENTS:
            raise StoreError(f"{self._path}: {MAX_SEGMENTS * SEGMENT // SLOT} requests are under way")
        start = len(self._maps) * SEGMENT
        # Written, not just extended: on a full disk this fails, where touching a hole would kill the process.
        os.pwrite(self._fd, bytes(SEGMENT), start)
        area = mmap.mmap(self._fd, SEGMENT, offset=start)
        first = 0 if self._maps else SLOT
        self._maps.append(area)
        self._free += [(area, at) for at in range(SEGMENT - SLOT, first - SLOT, -SLOT)]


class Abandoned:
    """The journal of a worker that has died, locked by whoever has found it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._fd = descriptor
        self._bytes = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        self.readable = self._bytes.startswith(MAGIC)
        """Whether this llmgate can read it."""
        worker, database, *_ = (self._bytes[len(MAGIC) : SLOT] + b"\0\0").split(b"\0")
        self.worker = worker.decode(errors="replace")
        """The name under which it had leased."""
        self.database = database.decode(errors="replace")
        """Which database its requests are for."""

    @property
    def path(self) -> Path:
        """Its file."""
        return self._path

    def put_aside(self) -> None:
        """Let go of a file that cannot be read, and keep it under a name that nobody looks for."""
        kept = self._path.with_suffix(".unread")
        self._path.rename(kept)
        os.close(self._fd)
        log.error(
            "%s is no journal of this llmgate: what was under way in it is not recorded, and kept in %s. If "
            "another release has left it, give it its name back and start that release once",
            self._path,
            kept,
        )

    def entries(self) -> Iterator[Entry]:
        """What it owes the ledger."""
        for at in range(SLOT, len(self._bytes), SLOT):
            try:
                found = read_slot(self._bytes, at)
            except msgspec.MsgspecError as error:
                log.warning("%s: the slot at byte %d cannot be read: %s", self._path, at, error)
            else:
                if found is not None:
                    yield self._entry(*found)

    def close(self, *, remove: bool) -> None:
        """Let go of the file, and remove it if all of it is in the ledger."""
        if remove:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)

    def _entry(self, record: UsageRecord, pledges: tuple[Pledge, ...]) -> Entry:
        spent = [(pledge, pledge.spent(record)) for pledge in pledges]
        return Entry(
            record,
            tuple(
                Charge(pledge.quota_id, pledge.window_start, amount, self.worker)
                for pledge, amount in spent
                if amount
            ),
        )


def abandoned(directory: Path) -> Iterator[Abandoned]:
    """The journals in `directory` whose workers have died, each locked until it is closed."""
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # alive, or somebody else has found it
            os.close(descriptor)
            continue
        if os.fstat(descriptor).st_nlink:
            yield Abandoned(path, descriptor)
        else:  # somebody else has just done with it
            os.close(descriptor)


def present(directory: Path) -> set[str]:
    """The workers that have a journal in `directory`, dead or alive."""
    return {path.name.removesuffix(SUFFIX) for path in directory.glob(f"*{SUFFIX}")}


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(f"{path}: the journal cannot be written: {error.strerror}") from error
