"""Data sets on the disk: checked line by line, split, and there under the hash of their contents only when whole."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from .examples import MIN_TO_SPLIT, held_out, read_examples

TRAIN, TEST = "train.jsonl", "test.jsonl"
STDLIB = Path(__file__).with_name("stdlib.py")
HUB = Path(__file__).with_name("hub.py")


@dataclass(frozen=True, slots=True)
class Stored:
    """A data set that was stored: its folder's name, and how many examples it has to train on and to evaluate with."""

    folder: str
    examples: int
    held_out: int


class Files:
    """The data sets below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def train(self, folder: str) -> Path:
        """The examples to train on."""
        return self._root / folder / TRAIN

    def test(self, folder: str, samples: int) -> list[bytes]:
        """The first examples that were held out."""
        try:
            with (self._root / folder / TEST).open("rb") as file:
                return [line.rstrip(b"\n") for line in islice(file, samples)]
        except FileNotFoundError:
            return []

    def has(self, folder: str) -> bool:
        """Whether the data set is still there."""
        return self.train(folder).exists()

    async def store(self, train: Path, test: Path | None = None) -> Stored:
        """Check and keep what `train` holds; without `test`, a part of it is held out if it is large enough.

        Raises `BadExample` for a line that is no example, and `OSError`.
        """
        return await asyncio.to_thread(self._store, train, test)

    async def store_builtin(self) -> Stored:
        """Make the data set of the standard library."""
        async with self._made_by([sys.executable, str(STDLIB)]) as work:
            return await self.store(work / TRAIN, work / TEST)

    async def store_from_hub(self, name: str) -> Stored:
        """Load a data set from the Hugging Face hub. Raises `OSError` where that fails."""
        async with self._made_by([sys.executable, str(HUB), name]) as work:
            test = work / TEST
            return await self.store(work / TRAIN, test if test.exists() else None)

    @asynccontextmanager
    async def _made_by(self, command: list[str]) -> AsyncIterator[Path]:
        """A folder that a child process has filled: what it takes is CPU that requests should not wait for."""
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="new-", dir=self._root) as work:
            child = await asyncio.create_subprocess_exec(
                *command, work, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
            )
            _, stderr = await child.communicate()
            if child.returncode:
                raise OSError(stderr.decode(errors="replace").strip().rpartition("\n")[2])
            yield Path(work)

    def _store(self, train: Path, test: Path | None) -> Stored:
        self._root.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix="new-", dir=self._root))
        try:
            digest = hashlib.sha256()
            split = test is None and _at_least(train, MIN_TO_SPLIT)
            counts = {TRAIN: 0, TEST: 0}
            with ExitStack() as stack:
                files = {name: stack.enter_context((work / name).open("wb")) for name in counts}
                for source, part in ((train, TRAIN), (test, TEST)):
                    for line in _lines(source):
                        name = TEST if split and held_out(line) else part
                        files[name].write(line + b"\n")
                        counts[name] += 1
                        digest.update(name.encode() + line + b"\n")
                for file in files.values():
                    file.flush()
                    os.fsync(file.fileno())
            folder = digest.hexdigest()[:16]
            with suppress(OSError):  # the same contents are stored already
                work.rename(self._root / folder)
            return Stored(folder, counts[TRAIN], counts[TEST])
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _lines(source: Path | None) -> Iterator[bytes]:
    if source is None:
        return
    with source.open("rb") as file:
        yield from read_examples(file)


def _at_least(source: Path, number: int) -> bool:
    return sum(1 for _ in islice(_lines(source), number)) == number
