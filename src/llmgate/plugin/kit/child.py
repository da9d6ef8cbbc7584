"""A child process that tells of its work: one JSON object a line on stdout. Read as it comes, stopped or killed.

async with running(["python", "work.py"], log=Path("stderr.log")) as child:
    await child.wait_at_most(1.0)
    for event in child.take_events(): ...                 # {"event": "step", ...}
    child.stop()                                          # SIGTERM
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

MAX_LINE_BYTES = 64 * 1024

Event = Mapping[str, Any]
"""What the process tells: an object with a member `event`."""


class Child:
    """A process that runs. Killing it closes its stdin, too: behind a launcher the signal may not reach it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._events: list[Event] = []
        self._reading = asyncio.create_task(self._read())

    @property
    def ended(self) -> bool:
        """Whether it has ended and all it said was read."""
        return self._reading.done()

    def take_events(self) -> list[Event]:
        """What it said since the last call."""
        events, self._events = self._events, []
        return events

    async def wait(self) -> int:
        """Until it has ended: its exit status, negative for a signal."""
        await self._reading
        return await self._process.wait()

    async def wait_at_most(self, seconds: float) -> None:
        """Until it has ended, or for `seconds`."""
        await asyncio.wait([self._reading], timeout=seconds)

    def stop(self) -> None:
        """Ask it to end in order: SIGTERM."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it, and all that it has started, at once."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while line := await self._line(self._process.stdout):
            with suppress(ValueError):  # launchers may print what they like
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    self._events.append(event)
        await self._process.wait()

    @staticmethod
    async def _line(stdout: asyncio.StreamReader) -> bytes:
        while True:
            try:
                return await stdout.readline()
            except ValueError:  # longer than any event
                continue


@asynccontextmanager
async def running(command: Sequence[str], *, log: Path) -> AsyncIterator[Child]:
    """`command` in a process group of its own, what it says on stderr in `log`; killed on leaving.

    Raises `OSError` where it cannot be started.
    """
    with log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            limit=MAX_LINE_BYTES,
            start_new_session=True,
        )
    child = Child(process)
    try:
        yield child
    finally:
        child.kill()
        await child.wait()
