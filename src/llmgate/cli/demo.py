"""`llmgate demo`: a model, a gate in front of it, a user with a key, and the lines to try them with."""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import sys
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import click

from ..config import Address, Config, load
from ..errors import ConfigError, NotFound
from ..server import serve
from ..server.log import log_to_stderr
from ..server.sockets import bind
from ..store import migrate
from ..tools.demo import MODEL
from ..tools.demo.process import running_backend
from .administration import administer

if TYPE_CHECKING:
    from ..identity import User, Users

HOST = "127.0.0.1"
PORTS = 100
CONTEXT = 2048
NAME = "demo"
"""The demo's user, and its key."""

WELCOME = """
The gate is open. Ask it something:

  {curl}

See what that used:

  {usage}

Metrics are at {base}/metrics, the settings in {settings}. Ctrl-C stops it all.
"""


@click.command()
@click.option(
    "--dir",
    "folder",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where gate.toml and the store are kept.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65_535),
    default=8000,
    show_default=True,
    help="Where to listen; the next free one if this is taken.",
)
def command(folder: Path, port: int) -> None:
    """Serve a real small model through a gate made for trying.

    Starts SmolLM2-135M behind llama.cpp's server and the gate in front of it, creates a user and a key,
    and prints the lines to try. Needs no GPU and no account.
    """
    log_to_stderr()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "gate.toml").touch()
    except OSError as error:
        raise ConfigError(
            [f"demo: {error.filename}: {error.strerror}: choose another place with --dir"]
        ) from error
    _run(folder, port)


def _run(folder: Path, port: int) -> None:
    _say("Loading SmolLM2-135M into llama.cpp's server, which takes some seconds ...")
    with running_backend(log=folder / "backend.log", context=CONTEXT) as backend:
        _say(f"The model answers on {backend}. Opening the gate in front of it ...")
        address = _free_address(port)
        settings = folder / "gate.toml"
        settings.write_text(_gate_toml(address, backend))
        secret = asyncio.run(_fresh_key(load(settings)))
        base = f"http://{address}"
        welcome = WELCOME.format(
            curl=_curl(base, secret),
            usage=shlex.join([*_this_command(), "--config", str(settings), "usage"]),
            base=base,
            settings=settings,
        )
        serve(settings, ready=lambda _: click.echo(welcome))
    _say("The gate is closed and the model's server has ended.")


def _free_address(port: int) -> Address:
    """The first address from `port` on that is free. Raises `ConfigError` if none is."""
    for candidate in range(port, min(port + PORTS, 65_536)):
        address = Address(HOST, candidate)
        with suppress(ConfigError):
            bind(address).close()
            return address
    raise ConfigError([f"demo: no free port from {port} on: choose another with --port"])


def _gate_toml(address: Address, backend: str) -> str:
    template = Template(files("llmgate.tools.demo").joinpath("gate.toml").read_text())
    return template.substitute(listen=address, backend=backend, context=CONTEXT, model=MODEL)


async def _fresh_key(config: Config) -> str:
    """A new key of the demo's user, in place of those that earlier demos showed."""
    await migrate(config.store.url.reveal())
    async with administer(config) as gate:
        user = await _demo_user(gate.identity.users)
        for key in await gate.identity.keys.of_user(user.id):
            if key.name == NAME:
                await gate.identity.keys.revoke(key.id)
        _, secret = await gate.identity.keys.create(user.id, NAME)
        return secret


async def _demo_user(users: Users) -> User:
    try:
        return await users.by_username(NAME)
    except NotFound:
        return await users.register(NAME, None)


def _curl(base: str, secret: str) -> str:
    """The command that asks the model something, as it can be pasted into a shell."""
    question = {"role": "user", "content": "What does a gatekeeper do?"}
    body = {"model": MODEL, "messages": [question], "max_tokens": 64, "stream": True}
    words = ["curl", "-N", f"{base}/v1/chat/completions"]
    words += ["-H", f"Authorization: Bearer {secret}", "-H", "Content-Type: application/json"]
    return shlex.join([*words, "-d", json.dumps(body)])


def _this_command() -> list[str]:
    """How this program was called, as it can be typed again."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return [sys.executable, "-m", "llmgate"]
    return [called.name if shutil.which(called.name) == str(called) else str(called)]


def _say(line: str) -> None:
    click.echo(line, err=True)
