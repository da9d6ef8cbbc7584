"""Adapters on llama.cpp: a server of the platform's own, which knows all adapters of a base model from its start.

llama.cpp loads no adapter while it runs. So where the adapters change, a second server is started with the new
list, requests are switched to it, and the first one ends when it has answered what it had begun. One process of
each host does that (`Servers`) and tells the others by a file (`Announced`), from which each makes an upstream.

Every request names every adapter of the server, the others with scale 0: what a slot has kept of an earlier
request is used again only if that had the same adapter.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
from msgspec import Struct

from .llama_server import KEY

if TYPE_CHECKING:
    from ..artifacts import Artifacts
    from ..settings import ModelSettings, Settings

log = logging.getLogger("llmgate.platform")

PROGRAM = Path(__file__).with_name("llama_server.py")
START_WITHIN_S = 300.0
SWITCHED_AFTER_S = 3.0
"""Until then every process has read the file and asks the new server."""
DRAIN_WITHIN_S = 600.0
TRY_AGAIN_AFTER_S = 30.0
GGUF = "adapter.gguf"


class Announced(Struct, frozen=True):
    """A server: where it is, its key, and the jobs whose adapters it has, in its order."""

    url: str
    key: str
    jobs: tuple[int, ...]

    def lora(self, job_id: int) -> list[dict[str, Any]]:
        """What a request says to have the adapter of a job, and no other."""
        return [{"id": at, "scale": float(job == job_id)} for at, job in enumerate(self.jobs)]

    @property
    def headers(self) -> dict[str, str]:
        """The server's key."""
        return {"authorization": f"Bearer {self.key}"}


Announcement = dict[str, Announced]
"""The servers by the names of their bases in gate.toml."""


def announcement_file(artifacts: Artifacts) -> Path:
    """Where the servers of this host are announced."""
    return artifacts.root / "serving" / f"{os.uname().nodename}.json"


def read_announcement(file: Path) -> Announcement:
    """The servers that run on this host."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Announcement)
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


class _Server:
    """A server's process."""

    def __init__(self, process: asyncio.subprocess.Process, announced: Announced) -> None:
        self._process = process
        self.announced = announced

    @classmethod
    async def start(
        cls, gguf: Path, adapters: Mapping[int, Path], settings: Settings, report: Path
    ) -> _Server:
        """Start one and wait until it answers. Raises `RuntimeError` where it does not, or not with these adapters."""
        key = secrets.token_hex(32)
        command = [
            sys.executable,
            str(PROGRAM),
            f"--model={gguf}",
            *(f"--lora={path}" for path in adapters.values()),
        ]
        command += [f"--slots={settings.llama_slots}", f"--context={settings.llama_context}"]
        with report.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                *command,
                f"--threads={settings.llama_threads}",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, KEY: key},
                start_new_session=True,
            )
        server = None
        try:
            async with asyncio.timeout(START_WITHIN_S):
                started = cls(process, Announced(await _listening(process), key, tuple(adapters)))
                await started._check(adapters)
            server = started
        except (TimeoutError, httpx.HTTPError, RuntimeError) as error:
            raise RuntimeError(f"llama.cpp's server did not start: {report} says why ({error})") from error
        finally:
            if server is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return server

    @property
    def runs(self) -> bool:
        return self._process.returncode is None

    async def _check(self, adapters: Mapping[int, Path]) -> None:
        """An adapter that it does not have would be answered for by the base model, without a word."""
        async with self._client() as http:
            while (await http.get("/health")).status_code == 503:  # noqa: ASYNC110 - it loads the model
                await asyncio.sleep(0.1)
            listed = (await http.get("/lora-adapters")).raise_for_status().json()
        if [each["path"] for each in sorted(listed, key=lambda each: each["id"])] != [
            *map(str, adapters.values())
        ]:
            raise RuntimeError("it has other adapters than it was started with")

    async def drain(self) -> None:
        """End it when it has answered everything."""
        await asyncio.sleep(SWITCHED_AFTER_S)
        with suppress(TimeoutError, httpx.HTTPError):
            async with asyncio.timeout(DRAIN_WITHIN_S), self._client() as http:
                while _busy((await http.get("/metrics")).text):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(1.0)
        await self.end()

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(5):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            base_url=self.announced.url, headers=self.announced.headers, trust_env=False, timeout=30
        )


class Servers:
    """The servers of this host. One process at a time may have them."""

    def __init__(self, artifacts: Artifacts, settings: Settings) -> None:
        self._artifacts = artifacts
        self._settings = settings
        self._file = announcement_file(artifacts)
        self._running: dict[str, _Server] = {}
        self._draining: set[asyncio.Task[None]] = set()
        self._failed: dict[str, tuple[tuple[int, ...], float]] = {}

    async def reconcile(self, base: ModelSettings, jobs: Sequence[int]) -> set[int]:
        """Let the base's server have the adapters of `jobs`, and no others. Returns those that it does not take."""
        await self._reconcile(base, jobs)
        failed, _ = self._failed.get(base.name, ((), 0.0))
        running = self._running.get(base.name)
        return set(failed).difference(() if running is None else running.announced.jobs)

    async def _reconcile(self, base: ModelSettings, jobs: Sequence[int]) -> None:
        files = {job: self._artifacts.adapter(job) / GGUF for job in jobs}
        adapters = {job: file.absolute() for job, file in files.items() if file.exists()}
        present = self._running.get(base.name)
        if present is not None and not present.runs:
            log.warning("the llama.cpp server of %s has ended: it is started again", base.name)
            present = self._running.pop(base.name)
            self._announce()
            present = None
        wanted = tuple(adapters)
        if wanted == (present.announced.jobs if present is not None else ()) or self._failed_lately(
            base.name, wanted
        ):
            return
        if wanted:
            try:
                self._running[base.name] = await self._start(base, adapters)
                self._failed.pop(base.name, None)
            except RuntimeError as error:
                log.error("adapters of %s: %s", base.name, error)  # noqa: TRY400 - what failed is in its report
                self._failed[base.name] = wanted, asyncio.get_running_loop().time()
                return
        else:
            del self._running[base.name]
        self._announce()
        if present is not None:
            task = asyncio.create_task(present.drain())
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def aclose(self) -> None:
        """End all."""
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        running, self._running = self._running, {}
        self._announce()
        await asyncio.gather(*(server.end() for server in running.values()))

    async def _start(self, base: ModelSettings, adapters: Mapping[int, Path]) -> _Server:
        assert base.gguf_file is not None
        self._file.parent.mkdir(parents=True, exist_ok=True)
        report = self._file.with_suffix(".log")
        server = await _Server.start(base.gguf_file, adapters, self._settings, report)
        log.info("a llama.cpp server has %d adapters of %s", len(adapters), base.name)
        return server

    def _failed_lately(self, name: str, wanted: tuple[int, ...]) -> bool:
        failed, at = self._failed.get(name, ((), float("-inf")))
        return failed == wanted and asyncio.get_running_loop().time() - at < TRY_AGAIN_AFTER_S

    def _announce(self) -> None:
        """Tell the other processes of this host. The file holds keys: it is its owner's alone."""
        servers = {name: server.announced for name, server in self._running.items()}
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor, work = tempfile.mkstemp(dir=self._file.parent)  # readable by its owner
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(servers))
        Path(work).replace(self._file)


async def _listening(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    while line := await process.stdout.readline():
        if line.startswith(b"listening "):
            return line.split()[1].decode()
    raise RuntimeError("it ended")


def _busy(metrics: str) -> bool:
    """Whether a server answers requests, by its own count."""
    counts = ("llamacpp:requests_processing ", "llamacpp:requests_deferred ")
    return any(float(line.split()[1]) > 0 for line in metrics.splitlines() if line.startswith(counts))
