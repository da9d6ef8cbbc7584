"""What a gate that does not need it does not load: an idle one should fit beside the model that it guards."""

import asyncio
import subprocess
import sys
from itertools import takewhile
from pathlib import Path

from llmgate.store import migrate

GATE = """
[gate]
listen = ["127.0.0.1:0"]

[upstreams.backend]
urls = ["http://127.0.0.1:9"]
dialect = "vllm"

[[routes]]
path = "/v1"
upstream = "backend"
middleware = ["ratelimit", "quota", "accounting"]
"""
NOT_NEEDED = {
    "alembic": "nothing is to be migrated",
    "argparse": "the command line is click's",
    "asyncpg": "for PostgreSQL",
    "certifi": "nobody is asked over https",
    "cryptography": "for sessions, foreign credentials and sealed secrets",
    "hiredis": "for Redis",
    "httpx": "9 MB: for plugins, proxies, and the app that a gate is put around",
    "jinja2": "for pages of plugins",
    "jwt": "for sessions and foreign credentials",
    "llmgate.gate.embed": "the gate is a server",
    "llmgate.ledger.postgres": "for PostgreSQL",
    "llmgate.plugin.openapi": "there are no surfaces",
    "llmgate.store.pg_notify": "for PostgreSQL",
    "llmgate.tools.conformance": "another command",
    "llmgate.tools.demo": "another command",
    "mako": "alembic's",
    "prometheus_client.parser": "nobody compares counters",
    "pygments": "httpx's command line",
    "redis": "for Redis",
    "rich": "httpx's command line",
    "sqlalchemy.ext.asyncio": "imports the ORM (see store.async_core)",
    "sqlalchemy.orm": "8 MB, and no object is mapped",
    "sqlalchemy.dialects.postgresql": "the store is SQLite",
    "swagger_ui_bundle": "shown by /docs",
    "websockets": "nobody has asked for a WebSocket",
}
"""What a plain gate (SQLite, keys, limits, quotas, accounting) does without, and why: each takes memory and time."""


def loaded_by_a_gate(folder: Path) -> set[str]:
    """The modules that `llmgate serve` has imported by the time it listens."""
    (folder / "gate.toml").write_text(GATE)
    asyncio.run(migrate(f"sqlite:///{folder / 'gate.db'}"))
    command = [sys.executable, "-X", "importtime", "-m", "llmgate", "serve"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as gate:
        assert gate.stdout is not None
        said = list(takewhile(lambda line: "llmgate listens on" not in line, gate.stdout))
        gate.terminate()
    return {line.rpartition("|")[2].strip() for line in said if line.startswith("import time:")}


def test_an_idle_gate_loads_nothing_that_it_does_not_need(tmp_path: Path) -> None:
    loaded = loaded_by_a_gate(tmp_path)
    assert {"sqlalchemy", "starlette", "uvicorn", "llmgate.ledger.ledger"} <= loaded, "what is needed is seen"
    assert loaded & NOT_NEEDED.keys() == set()
