"""The processes of a run: backends, Redis and the gate, each of which can be killed and comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

HERE = Path(__file__).parent
STARTED_WITHIN = 60.0
STOPPED_WITHIN = 30.0


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(slots=True)
class Program:
    """A server of `command` in `folder`, on `port`; what it says is in the file `log`.

    It has started when it takes connections or, with `ready`, has said so.
    """

    command: Sequence[str]
    folder: Path
    port: int
    log: Path
    ready: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    """Besides that of this process."""
    falls: int = 0
    """How often it had ended by itself before it was killed."""
    _child: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._child is not None, "start() comes first"
        return self._child.pid

    async def start(self) -> None:
        """Start it, again and again while it fails to. Raises `RuntimeError` if it never has started."""
        try:
            async with asyncio.timeout(STARTED_WITHIN):
                while not await self._started():  # noqa: ASYNC110 - another process decides
                    await asyncio.sleep(0.2)
        except TimeoutError:
            raise RuntimeError(f"{self.command} does not start:\n{self.log.read_text()[-4000:]}") from None

    async def kill(self) -> None:
        """kill -9 to it and its children, and wait for its death."""
        assert self._child is not None
        self.falls += self._child.returncode is not None
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)  # so that it starts no more of them meanwhile
            for pid in (*self.children(), self.pid):
                os.kill(pid, signal.SIGKILL)
        await self._child.wait()

    async def restart(self, pause: float = 0.0) -> None:
        """kill -9, a pause (seconds), and a new one."""
        await self.kill()
        await asyncio.sleep(pause)
        await self.start()

    async def stop(self) -> int:
        """SIGTERM; returns its status. One that does not end is killed."""
        assert self._child is not None
        with suppress(ProcessLookupError):
            self._child.terminate()
        with suppress(TimeoutError):
            return await asyncio.wait_for(self._child.wait(), STOPPED_WITHIN)
        await self.kill()
        return -signal.SIGKILL

    def children(self) -> list[int]:
        """The pids of its own child processes, on Linux."""
        try:
            return [
                int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
            ]
        except FileNotFoundError:
            return []

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal. Raises `RuntimeError` if it has ended by itself."""
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            raise RuntimeError(f"{self.command} has ended:\n{self.log.read_text()[-4000:]}") from None

    async def _started(self) -> bool:
        with self.log.open("ab") as said:
            before = said.tell()
            self._child = await asyncio.create_subprocess_exec(
                *self.command, cwd=self.folder, stdout=said, stderr=said, env=_environment(self.environment)
            )
        while self._child.returncode is None:
            if await self._is_ready(before):
                return True
            await asyncio.sleep(0.05)
        return False

    async def _is_ready(self, before: int) -> bool:
        if self.ready is not None:
            return self.ready.encode() in self.log.read_bytes()[before:]
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True


def backends(folder: Path, count: int) -> list[Program]:
    """So many backends, each with its log of reports beside it (see `reports_of`)."""
    return [_backend(folder, number) for number in range(count)]


def _backend(folder: Path, number: int) -> Program:
    port = free_port()
    reports = folder / f"{number}.reports"
    command = [sys.executable, "-m", "torture.backend", str(port), str(reports)]
    return Program(command, folder, port, folder / f"backend-{number}.log")


def redis(folder: Path, binary: str) -> Program:
    """A Redis that forgets everything when it is killed."""
    port = free_port()
    command = [binary, "--port", str(port), "--save", "", "--appendonly", "no"]
    return Program(command, folder, port, folder / "redis.log")


def gate(
    folder: Path,
    store: str,
    upstreams: Sequence[Program],
    *,
    workers: int = 1,
    durability: str = "journal",
    synchronous: str = "normal",
    shared: Program | None = None,
    environment: Mapping[str, str],
) -> Program:
    """A gate on `store` in front of `upstreams`; several workers need a `shared` Redis."""
    port = free_port()
    settings = Template((HERE / "gate.toml").read_text()).substitute(
        PORT=port,
        WORKERS=workers,
        STORE=store,
        DURABILITY=durability,
        SYNCHRONOUS=synchronous,
        REDIS=""
        if shared is None
        else f'[limits_store]\nurl = "redis://127.0.0.1:{shared.port}/0"\ntimeout = 1.0',
        BACKENDS=[f"http://127.0.0.1:{upstream.port}" for upstream in upstreams],
    )
    (folder / "gate.toml").write_text(settings)
    command = [sys.executable, "-m", "llmgate", "serve"]
    return Program(command, folder, port, folder / "gate.log", "llmgate listens on", environment=environment)


async def get(port: int, path: str) -> str:
    """The body of what a GET brings, on a connection of its own. Raises `OSError`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n".encode())
        return (await reader.read()).partition(b"\r\n\r\n")[2].decode()
    finally:
        writer.close()


def samples(exposition: str) -> Iterator[tuple[str, float]]:
    """Names with their labels, and values, of a scrape."""
    for line in exposition.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            yield name, float(value)


def _environment(more: Mapping[str, str]) -> Mapping[str, str]:
    path = os.pathsep.join([str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, **more}
