import asyncio
import time
from pathlib import Path
from typing import Any

from cli.conftest import Cli
from cli.test_usage import _record
from llmgate.cli.administration import administer
from llmgate.config import load
from llmgate.store.schema import usage


def fill(migrated: Path, rows: list[dict[str, Any]]) -> None:
    async def insert() -> None:
        async with administer(load(migrated / "gate.toml")) as gate, gate.store.begin() as db:
            await db.execute(usage.insert(), rows)

    asyncio.run(insert())


def test_another_gate_toml_is_tried_on_what_was_used(llmgate: Cli, migrated: Path, bob: Any) -> None:
    llmgate("key", "create", "bob", "--name", "laptop", "--quiet")
    now = time.time()
    fill(migrated, [_record(f"r{n}", now - 100 + n, user_id=1, key_id=1, input_tokens=10) for n in range(5)])
    other = migrated / "new.toml"
    other.write_text(
        (migrated / "gate.toml").read_text()
        + '\n[[quotas]]\nper = "user"\ntokens = 25\n[prices."*"]\ninput = 2.0\noutput = 0.0\n'
    )
    played = llmgate.json("simulate", str(other), "--days", "7")
    assert (played["requests"], played["refused"]) == (5, 3)
    assert played["rules"] == [
        {
            "rule": "quotas[1]",
            "refused": 3,
            "shortened": 0,
            "first": played["rules"][0]["first"],
            "last": played["rules"][0]["last"],
            "most affected": "user 1 (3)",
        }
    ]
    assert played["cost now"] == 20 * 2.0 / 1_000_000


def test_a_quota_that_bob_has_of_his_own_stays(llmgate: Cli, migrated: Path, bob: Any) -> None:
    llmgate("quota", "set", "--user", "bob", "--tokens", "1000")
    fill(migrated, [_record("a", time.time() - 5, user_id=1, input_tokens=100)])
    other = migrated / "new.toml"
    other.write_text((migrated / "gate.toml").read_text() + '\n[[quotas]]\nper = "user"\ntokens = 25\n')
    assert "refused and shortened nothing" in llmgate("simulate", str(other)).stdout
