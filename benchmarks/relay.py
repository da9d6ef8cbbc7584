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
from llmgate.server.limits import ConnectionLimits
from llmgate.server.listener import Listener
from llmgate.server.sockets import bind


async def main(port: int, backend: str) -> None:
    """Serve until the process is ended."""
    relay = Relay(Upstream("backend", [backend], engine=HttptoolsEngine()))
    address = Address("127.0.0.1", port)
    limits = ConnectionLimits.of_gate(Gate())
    await Listener(address, bind(address)).serve(Errors(relay), limits, grace=0.0)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
