"""Revisions are applied forward, all or nothing, once, and what they make is what the code expects."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncConnection
from stores import files_in

from llmgate.errors import StoreError
from llmgate.store import CORE, Migrations, Store, migrate, pending
from llmgate.store.engine import parse, writing_engine
from llmgate.store.schema import metadata

ALL = [f"core {revision}" for revision in CORE.revisions()]

FIRST = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    op.create_table("colours", sa.Column("name", sa.Text, primary_key=True))
"""

DANGLING = """
    op.execute("INSERT INTO user_roles VALUES (99, 'admin')")
"""

BROKEN = """
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.execute("INSERT INTO colours VALUES ('red')")
    op.rename_table("colours", "farben")
    raise RuntimeError("halfway")
"""

REBUILDS_USERS = """
import sqlalchemy as sa
from alembic import op
revision, down_revision = "0001", None
def upgrade():
    with op.batch_alter_table("users", recreate="always") as users:
        users.add_column(sa.Column("nickname", sa.Text))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'gate.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def plugin(tmp_path: Path) -> Migrations:
    folder = tmp_path / "versions"
    folder.mkdir()
    (folder / "0001_colours.py").write_text(FIRST)
    return Migrations("colours", folder)


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


@asynccontextmanager
async def connection(url: str) -> AsyncIterator[AsyncConnection]:
    engine = writing_engine(parse(url))
    async with engine.begin() as conn:
        yield conn
    await engine.dispose()


async def tables(url: str) -> set[str]:
    async with connection(url) as conn:
        return set(await conn.run_sync(lambda sync: sa.inspect(sync).get_table_names()))


async def test_the_schema_that_the_revisions_make_is_the_one_in_the_code(empty_url: str) -> None:
    await migrate(empty_url)

    def differences(conn: sa.Connection) -> list[Any]:
        ours = {"include_name": lambda name, kind, _: kind != "table" or name in metadata.tables}
        return compare_metadata(MigrationContext.configure(conn, opts=ours), metadata)

    async with connection(empty_url) as conn:
        assert await conn.run_sync(differences) == []


async def test_migrating_says_what_it_applied_and_does_it_once(empty_url: str) -> None:
    assert await pending(empty_url) == ALL
    assert await migrate(empty_url) == ALL
    assert await pending(empty_url) == []
    assert await migrate(empty_url) == []


async def test_asking_what_is_pending_makes_no_file(tmp_path: Path) -> None:
    assert await pending(f"sqlite:///{tmp_path / 'gate.db'}") == ALL
    assert files_in(tmp_path) == []


async def test_the_database_is_readable_for_its_owner_alone(tmp_path: Path) -> None:
    """It holds password hashes and the keys that sign sessions."""
    await migrate(f"sqlite:///{tmp_path / 'gate.db'}")
    assert permissions(tmp_path / "gate.db") == 0o600


async def test_a_store_that_is_behind_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "gate.db").touch()
    with pytest.raises(StoreError, match=f"behind by {', '.join(ALL)}: run `llmgate migrate`"):
        async with Store.open(f"sqlite:///{tmp_path / 'gate.db'}"):
            pass


async def test_a_store_that_is_newer_than_the_code_is_neither_opened_nor_migrated(empty_url: str) -> None:
    await migrate(empty_url)
    async with connection(empty_url) as conn:
        await conn.execute(sa.text("UPDATE alembic_version_core SET version_num = '9999'"))
    for refused in (migrate(empty_url), pending(empty_url), Store.open(empty_url).__aenter__()):
        with pytest.raises(StoreError, match=r"revision 9999 of core.*use the newer llmgate"):
            await refused


async def test_a_plugin_brings_revisions_of_its_own(empty_url: str, plugin: Migrations) -> None:
    assert await migrate(empty_url, sets=[CORE, plugin]) == [*ALL, "colours 0001"]
    assert await pending(empty_url, sets=[CORE, plugin]) == []
    assert {"colours", "alembic_version_colours", "alembic_version_core"} <= await tables(empty_url)


async def test_a_revision_that_fails_leaves_everything_as_it_was(empty_url: str, plugin: Migrations) -> None:
    """Also what earlier revisions of the same run did: an operator restarts from a state that was released."""
    await migrate(empty_url, sets=[plugin])
    before = await tables(empty_url)
    (plugin.folder / "0002_halfway.py").write_text(BROKEN)
    with pytest.raises(RuntimeError, match="halfway"):
        await migrate(empty_url, sets=[CORE, plugin])
    assert await tables(empty_url) == before
    async with connection(empty_url) as conn:
        assert await conn.scalar(sa.text("SELECT count(*) FROM colours")) == 0
    assert await pending(empty_url, sets=[plugin]) == ["colours 0002"]


async def test_rebuilding_a_table_loses_no_row_that_refers_to_it(tmp_path: Path, sqlite_url: str) -> None:
    """SQLite alters a table by dropping it; with foreign keys on, that deletes what refers to it."""
    path = sqlite_url.removeprefix("sqlite:///")
    with sqlite3.connect(path) as conn:
        conn.execute("INSERT INTO users VALUES (7, 'u', 'ann', NULL, NULL, 1, 0, 0, NULL, NULL)")
        conn.execute("INSERT INTO user_roles VALUES (7, 'admin')")
    conn.close()
    (tmp_path / "versions").mkdir()
    (tmp_path / "versions" / "0001_nickname.py").write_text(REBUILDS_USERS)
    await migrate(sqlite_url, sets=[Migrations("names", tmp_path / "versions")])
    async with Store.open(sqlite_url) as store, store.connect() as db:
        assert (await db.execute(sa.text("SELECT * FROM user_roles"))).all() == [(7, "admin")]
        assert await db.scalar(sa.text("SELECT nickname FROM users")) is None


async def test_a_revision_that_leaves_a_dangling_reference_is_undone(
    sqlite_url: str, plugin: Migrations
) -> None:
    (plugin.folder / "0001_colours.py").write_text(FIRST + DANGLING)
    with pytest.raises(StoreError, match="user_roles refers to a row that is not there"):
        await migrate(sqlite_url, sets=[plugin])
    assert "colours" not in await tables(sqlite_url)


async def test_of_several_starters_at_once_one_migrates_and_none_fails(empty_url: str) -> None:
    code = "import asyncio, sys; from llmgate.store import migrate; print(asyncio.run(migrate(sys.argv[1])))"
    starters = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, empty_url, stdout=subprocess.PIPE)
        for _ in range(3)
    ]
    said = [await starter.communicate() for starter in starters]
    assert sorted(out for out, _ in said) == [
        f"{ALL}\n".encode(),
        b"[]\n",
        b"[]\n",
    ]


STOPS_HALFWAY = """
import os
from alembic import op
revision, down_revision = "0002", "0001"
def upgrade():
    op.execute("INSERT INTO colours VALUES ('red')")
    if os.environ.get("DIE_HALFWAY"):
        os.kill(os.getpid(), 9)
"""


def test_a_starter_that_is_killed_halfway_leaves_nothing_and_the_next_one_starts_over(
    empty_url: str, plugin: Migrations
) -> None:
    code = """
import asyncio, pathlib, sys
from llmgate.store import CORE, Migrations, migrate
print(asyncio.run(migrate(sys.argv[1], sets=[CORE, Migrations("colours", pathlib.Path(sys.argv[2]))])))
"""
    (plugin.folder / "0002_halfway.py").write_text(STOPS_HALFWAY)
    command = [sys.executable, "-c", code, empty_url, str(plugin.folder)]
    killed = subprocess.run(command, env={**os.environ, "DIE_HALFWAY": "1"}, check=False)
    assert killed.returncode == -9
    assert asyncio.run(tables(empty_url)) == set()
    again = subprocess.run(command, capture_output=True, check=True)
    assert again.stdout == f"{[*ALL, 'colours 0001', 'colours 0002']}\n".encode()


def test_files_and_revisions_of_the_core_agree() -> None:
    """What is pending is read from file names, without loading Alembic; so they have to be true."""
    script = ScriptDirectory(CORE.folder, version_locations=[CORE.folder])
    in_files = [step.revision for step in reversed(list(script.walk_revisions()))]
    assert CORE.revisions() == in_files


def test_a_gate_that_has_nothing_to_apply_does_not_load_alembic(sqlite_url: str) -> None:
    """It takes memory that a running gate has better use for."""
    code = """
import asyncio, sys
from llmgate.store import Store, migrate
async def start(url):
    await migrate(url)
    async with Store.open(url):
        assert "alembic" not in sys.modules
asyncio.run(start(sys.argv[1]))
"""
    subprocess.run([sys.executable, "-c", code, sqlite_url], check=True)


NAMES = ("Ann", "ann", "Bob", "\uff22\uff4f\uff42by", "zo\u00e9 lee", "\U0001f600")


async def test_names_of_before_become_the_usual_ones_where_they_are_nobodys(
    empty_url: str, tmp_path: Path
) -> None:
    """And whoever has none keeps the one that there was."""
    (before := tmp_path / "before").mkdir()
    for revision in CORE.folder.glob("000[1-4]_*.py"):
        shutil.copy(revision, before)
    await migrate(empty_url, sets=[Migrations("core", before)])
    async with connection(empty_url) as conn:
        for number, name in enumerate(NAMES, 1):
            row = {"id": number, "uuid": f"u{number}", "name": name, "email": f"{number}@X.org"}
            await conn.execute(
                sa.text(
                    "INSERT INTO users (id, uuid, username, email, is_active, created_at, updated_at) "
                    "VALUES (:id, :uuid, :name, :email, true, 0, 0)"
                ),
                row,
            )
    assert (await migrate(empty_url))[0] == "core 0005"
    async with connection(empty_url) as conn:
        rows = (await conn.execute(sa.text("SELECT username, email FROM users ORDER BY id"))).all()
    assert [name for name, _ in rows] == ["Ann", "ann", "bob", "bobby", "zo\u00e9 lee", "\U0001f600"]
    assert rows[0].email == "1@x.org"
