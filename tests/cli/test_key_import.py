"""Keys of LiteLLM, from an export or its database: they open the gate as they did LiteLLM."""

import asyncio
import csv
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from stores import _command, postgres_database, postgres_url

from cli.conftest import Cli
from llmgate.cli.administration import administer
from llmgate.config import load
from llmgate.errors import Unauthenticated
from llmgate.exchange import Principal
from llmgate.permissions import Permissions

__all__ = ["postgres_url"]

SECRETS = {name: f"sk-{name}-0123456789" for name in ("web", "team", "nobody")}


def row(name: str, **rest: Any) -> dict[str, Any]:
    secret = SECRETS[name]
    hashed = sha256(secret.encode()).hexdigest()
    return {"token": hashed, "key_name": f"sk-...{secret[-4:]}", "key_alias": name, "spend": 0.0, **rest}


ROWS = [
    row(
        "web",
        user_id="ann",
        team_id="Bees",
        max_budget=10.0,
        budget_duration="30d",
        spend=2.5,
        rpm_limit=7,
        models=["small"],
        tpm_limit=900,
    ),
    row("team", team_id="Bees"),
    row("nobody", metadata={"note": "x"}),
]


@pytest.fixture
def export(migrated: Path) -> Path:
    path = migrated / "keys.json"
    path.write_text(json.dumps(ROWS))
    return path


def verify(folder: Path, secret: str) -> Principal:
    async def verified() -> Principal:
        async with administer(load(folder / "gate.toml")) as gate:
            return await gate.identity.keys.verify(secret)

    return asyncio.run(verified())


def test_keys_open_the_gate_as_they_are(llmgate: Cli, migrated: Path, export: Path) -> None:
    result = llmgate("key", "import", str(export))
    assert (
        "made organization Bees\nmade user ann\nmade user litellm\n3 keys imported, 0 were" in result.stdout
    )
    assert "not taken over: metadata of nobody" in result.stderr
    assert "gate.toml has no prices" in result.stderr
    web, team, nobody = (verify(migrated, SECRETS[name]) for name in ("web", "team", "nobody"))
    assert (web.username, web.requests_per_minute, nobody.username) == ("ann", 7, "litellm")
    assert web.key_may == Permissions(models=("small",), tokens_per_minute=900)
    assert web.organization_id == team.organization_id is not None and nobody.organization_id is None
    listed = {key["name"]: key for key in llmgate.json("key", "list")}
    assert listed["web"]["key"] == f"sk-...{SECRETS['web'][-4:]}"
    (quota,) = [each for each in llmgate.json("quota", "show", "--key", "1") if each["unit"] == "money"]
    assert (quota["limit"], quota["used"], quota["window"]) == (10.0, 2.5, "30d")


def test_again_it_changes_nothing_and_a_dry_run_never_does(
    llmgate: Cli, migrated: Path, export: Path
) -> None:
    dry = llmgate.json("key", "import", str(export), "--dry-run")
    assert (dry["imported"], dry["made"]) == (
        ["web", "team", "nobody"],
        ["organization Bees", "user ann", "user litellm"],
    )
    assert llmgate.json("key", "list") == [] and llmgate.json("user", "list") == []
    llmgate("key", "import", str(export))
    before = llmgate.json("key", "list")
    again = llmgate.json("key", "import", str(export))
    assert (again["imported"], again["there_already"], again["made"]) == ([], ["web", "team", "nobody"], [])
    assert llmgate.json("key", "list") == before


def test_a_revoked_key_does_not_come_back(llmgate: Cli, migrated: Path, export: Path) -> None:
    llmgate("key", "import", str(export))
    llmgate("key", "revoke", "1")
    assert llmgate.json("key", "import", str(export))["imported"] == []
    with pytest.raises(Unauthenticated):
        verify(migrated, SECRETS["web"])


def test_what_is_wrong_with_one_key_holds_no_other_up(llmgate: Cli, migrated: Path) -> None:
    """A name that the gate does not take, and a key that would open more than before."""
    path = migrated / "keys.json"
    path.write_text(
        json.dumps(
            {"keys": [row("web", user_id="a\u0430"), row("team", allowed_routes=["/x"]), row("nobody")]}
        )
    )
    found = llmgate.json("key", "import", str(path), "--user", "old-keys")
    assert (found["imported"], found["made"]) == (["nobody"], ["user old-keys"])
    assert [line.partition(":")[0] for line in found["left_out"]] == ["team", "web"]
    assert llmgate.json("key", "import", str(path), "--user", "old-keys", "--widen")["imported"] == ["team"]


def test_csv_as_psql_writes_it(llmgate: Cli, migrated: Path) -> None:
    path = migrated / "keys.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["token", "key_name", "key_alias", "user_id", "models", "blocked"])
        writer.writeheader()
        for each in ROWS:
            writer.writerow(
                {"token": each["token"], "key_alias": each["key_alias"], "models": "{}", "user_id": "ann"}
            )
    assert llmgate.json("key", "import", str(path))["imported"] == ["web", "team", "nobody"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [(None, "No such file"), ("[1]", "expected a list of objects"), ('{"a": 1}', "expected"), ("[{", "JSON")],
)
def test_a_source_that_cannot_be_read(llmgate: Cli, migrated: Path, text: str | None, problem: str) -> None:
    path = migrated / "keys.json"
    if text is not None:
        path.write_text(text)
    assert problem in llmgate("key", "import", str(path), code=2).stderr


@pytest.fixture
def litellm_database() -> Iterator[str]:
    """LiteLLM's tables with the columns that are read, as its schema.prisma has them."""
    with postgres_database() as url:
        asyncpg = pytest.importorskip("asyncpg")
        sql = """
            CREATE TABLE "LiteLLM_TeamTable" (team_id text PRIMARY KEY, team_alias text, max_budget float8);
            CREATE TABLE "LiteLLM_VerificationToken" (
                token text PRIMARY KEY, key_name text, key_alias text, spend float8 NOT NULL DEFAULT 0,
                expires timestamp(3), models text[], aliases jsonb NOT NULL DEFAULT '{}',
                config jsonb NOT NULL DEFAULT '{}', user_id text, team_id text,
                permissions jsonb NOT NULL DEFAULT '{}', max_parallel_requests int,
                metadata jsonb NOT NULL DEFAULT '{}', blocked boolean, tpm_limit bigint, rpm_limit bigint,
                max_budget float8, budget_duration text, budget_reset_at timestamp(3),
                allowed_cache_controls text[] DEFAULT ARRAY[]::text[],
                allowed_routes text[] DEFAULT ARRAY[]::text[], created_at timestamp(3) DEFAULT now()
            );
            INSERT INTO "LiteLLM_TeamTable" VALUES ('t-1', 'Bees', 100);
            INSERT INTO "LiteLLM_VerificationToken" (token, key_alias, team_id, models, max_budget, spend)
                VALUES (encode(sha256('sk-web-0123456789'), 'hex'), 'web', 't-1', ARRAY['all-team-models'], 3, 1);
        """
        asyncio.run(_command(asyncpg, sql, url))
        yield url


def test_straight_from_the_database(llmgate: Cli, migrated: Path, litellm_database: str) -> None:
    """Teams have their names, and nothing is written there."""
    found = llmgate.json("key", "import", litellm_database)
    assert (found["imported"], found["made"], found["not_taken_over"]) == (
        *(["web"], ["organization Bees"], []),
    )
    assert verify(migrated, SECRETS["web"]).organization_id is not None


def test_a_database_that_is_none_of_litellms(llmgate: Cli, migrated: Path, postgres_url: str) -> None:
    result = llmgate("key", "import", postgres_url, code=2)
    assert "LiteLLM's database cannot be read" in result.stderr
