"""A real Prometheus (Debian's package `prometheus`) that scrapes what a test serves."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from cluster import free_port

WITHIN = 30.0
SCRAPE_INTERVAL = "250ms"


@dataclass
class Prometheus:
    """Asked over its HTTP API."""

    http: httpx.AsyncClient

    async def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. Fails with what Prometheus has to say of one that it does not take."""
        answer = (await self.http.get("/api/v1/query", params={"query": expression})).json()
        assert answer["status"] == "success", (expression, answer)
        result = answer["data"]["result"]
        return result if isinstance(result, list) else [result]

    async def until(self, expression: str) -> list[dict[str, Any]]:
        """The same, once it has series."""
        ends = asyncio.get_running_loop().time() + WITHIN
        while not (found := await self.query(expression)):
            assert asyncio.get_running_loop().time() < ends, f"no series: {expression}"
            await asyncio.sleep(0.05)
        return found


@asynccontextmanager
async def prometheus_server(folder: Path, scrape_configs: str) -> AsyncIterator[Prometheus]:
    """Prometheus with these `scrape_configs` (YAML); its data are in `folder`."""
    binary = shutil.which("prometheus")
    if binary is None:
        reason = "prometheus is not installed (make programs)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    file, port = folder / "prometheus.yml", free_port()
    file.write_text(f"global:\n  scrape_interval: {SCRAPE_INTERVAL}\n{scrape_configs}")
    command = [
        *(binary, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
                await _ready(http, process, folder / "log")
                yield Prometheus(http)
        finally:
            process.kill()
            await process.wait()


async def _ready(http: httpx.AsyncClient, process: asyncio.subprocess.Process, log: Path) -> None:
    async with asyncio.timeout(WITHIN):
        while process.returncode is None:
            try:
                if (await http.get("/-/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(await asyncio.to_thread(log.read_text))
