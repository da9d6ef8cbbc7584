"""A gate in a process of its own, whose clock is a number in a file.

python gate_process.py GATE.toml CLOCK

Prints its URL once it serves. Passwords are hashed cheaply.
"""

import asyncio
import sys
from pathlib import Path

from argon2 import PasswordHasher

from llmgate.config import load
from llmgate.gate.build import open_gate
from llmgate.gate.runtime import open_runtime
from llmgate.identity import passwords
from llmgate.server.limits import ConnectionLimits
from llmgate.server.listener import Listener
from llmgate.server.sockets import bind


async def main(file: Path, clock: Path) -> None:
    config = load(file)
    async with (
        open_runtime(config, clock=lambda: float(clock.read_text())) as runtime,
        open_gate(config, runtime) as gate,
    ):
        (address,) = config.gate.listen
        listener = Listener(address, bind(address))
        limits = ConnectionLimits(header_timeout=60.0, max_connections=1000)
        await listener.serve(gate.apps[address], limits, grace=0.0)
        sys.stdout.write(f"http://127.0.0.1:{listener.port}\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await listener.stop()


if __name__ == "__main__":
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    passwords.PasswordHasher = lambda: cheap  # type: ignore[assignment,misc]
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
