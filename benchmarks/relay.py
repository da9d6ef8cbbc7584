"""The relay alone, under the gate's own server: `python -m benchmarks.relay PORT BACKEND_URL`."""

from __future__ import annotations

import asyncio
import sys

import uvloop

from llmgate.config import Address, Gate
from llmgate.middleware.errors import Errors
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.proxy.relay import Relay
from llmgate.proxy.upstreams import Upstream
from llmgate.server.listener import Listener


async def main(port: int, backend: str) -> None:
    """Serve until the process is ended."""
    relay = Relay(Upstream("backend", [backend], engine=HttptoolsEngine()))
    Listener(Address("127.0.0.1", port)).serve(Errors(relay), Gate())
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
