"""Which workers live: by heartbeats on PostgreSQL, by the lock of their journal on SQLite."""

from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
import sqlalchemy as sa

from llmgate.ledger.journal import Journal, present
from llmgate.ledger.workers import (
    EXPIRES_AFTER_S,
    FENCED_AFTER_S,
    WorkerExpired,
    Workers,
    _name_of,
    journals_of,
)
from llmgate.store import Store, migrate
from llmgate.store.schema import workers

from .ledgers import Timer, draft


async def listed(store: Store) -> set[str]:
    async with store.connect() as db:
        return set(await db.scalars(sa.select(workers.c.id)))


async def silence(store: Store, worker: str) -> None:
    """As if it had sent no heartbeat for too long."""
    async with store.begin() as db:
        seen = workers.c.seen_at - EXPIRES_AFTER_S - 1
        await db.execute(sa.update(workers).where(workers.c.id == worker).values(seen_at=seen))


async def test_a_worker_is_listed_while_it_is_entered(store: Store, tmp_path: Path) -> None:
    async with Workers(store, tmp_path, "a"), Workers(store, tmp_path, "b") as second:
        assert await listed(store) == {"a", "b"}
        async with store.begin() as db:
            assert await second.count(db) == 2
    assert await listed(store) == set()
    assert present(tmp_path) == set(), "nor does a journal stay behind"


async def test_who_is_silent_for_too_long_is_evicted_and_comes_back_under_a_new_name(
    store: Store, tmp_path: Path
) -> None:
    """So that nothing done under the old name touches its new leases."""
    async with Workers(store, tmp_path, "a") as one, Workers(store, tmp_path, "b") as other:
        if not one.uses_heartbeat:
            pytest.skip("on SQLite the locks of journals tell who lives")
        await silence(store, "a")
        await other.heartbeat()
        assert await listed(store) == {"b"}
        with pytest.raises(WorkerExpired):
            await one.heartbeat()
        await one.rejoin()
        assert one.worker_id != "a"
        assert await listed(store) == {"b", one.worker_id}
        await one.heartbeat()


async def test_leases_are_not_trusted_for_as_long_as_others_wait(store: Store, tmp_path: Path) -> None:
    """A worker stops deciding before anybody else may take what it has."""
    assert FENCED_AFTER_S < EXPIRES_AFTER_S
    timer = Timer()
    async with Workers(store, tmp_path, "a", timer=timer) as one:
        timer.now += FENCED_AFTER_S
        assert one.lease_valid is not one.uses_heartbeat
        await one.heartbeat()
        assert one.lease_valid


async def test_a_worker_without_a_journal_has_died(store: Store, tmp_path: Path) -> None:
    """On SQLite: its journal was dealt with, and it is still on the list."""
    async with Workers(store, tmp_path, "a") as one:
        if one.uses_heartbeat:
            pytest.skip("on PostgreSQL heartbeats tell who lives")
        async with store.begin() as db:
            row = {"id": "gone", "host": "h", "pid": 1, "started_at": 0.0, "seen_at": 0.0}
            await db.execute(sa.insert(workers).values(row))
        await one.evict_without_journal()
        assert await listed(store) == {"a"}


async def test_the_journals_of_another_database_are_left_to_its_own_gates(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Two gates that are started in one folder: nobody's requests go into the other's books."""
    for name, database in (("other", "elsewhere:5432/gate"), ("mine", None)):
        async with Workers(store, tmp_path, f"live-{name}") as live:
            journal = Journal(tmp_path, name, live._database if database is None else database)
            journal.open(draft(), ())
            journal._free.clear()  # as a killed process leaves it
            journal.close()
    (tmp_path / "broken.journal").write_bytes(b"?")
    async with Workers(store, tmp_path, "w") as finder:
        for _ in range(2):
            found = list(finder.abandoned())
            assert [one.worker for one in found] == ["mine"]
            for one in found:
                one.close(remove=False)
    assert (tmp_path / "other.journal").exists()
    assert (tmp_path / "broken.unread").exists()
    assert caplog.text.count("a worker on elsewhere:5432/gate, which has died") == 1


def left_behind(store: Store, journals: Path, worker: str) -> None:
    """A journal as a killed worker of `store` leaves it."""
    journal = Journal(journals, worker, Workers(store, journals, f"of-{worker}")._database)
    journal.open(draft(), ())
    journal._free.clear()
    journal.close()


async def test_two_sqlite_files_that_share_a_folder_of_journals_are_told_apart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever way their paths are written: nobody's requests go into the other's books."""
    journals = tmp_path / "journals"
    urls = {name: f"sqlite:///{tmp_path / name / 'gate.db'}" for name in ("one", "two")}
    for name, url in urls.items():
        (tmp_path / name).mkdir()
        await migrate(url)
        async with Store.open(url) as store:
            left_behind(store, journals, name)
    (tmp_path / "link").symlink_to(tmp_path / "two")
    async with Store.open(f"sqlite:///{tmp_path}/link/gate.db") as store:
        finder = Workers(store, journals, "w")
        assert [found.worker for found in finder.abandoned()] == ["two"]
    assert (journals / "one.journal").exists()
    assert f"a worker on SQLite {tmp_path}/one/gate.db, which has died" in caplog.text


async def test_the_folder_beside_an_sqlite_file_moves_with_it(tmp_path: Path) -> None:
    (tmp_path / "before").mkdir()
    await migrate(f"sqlite:///{tmp_path}/before/gate.db")
    async with Store.open(f"sqlite:///{tmp_path}/before/gate.db") as store:
        left_behind(store, journals_of(store), "old")
    (tmp_path / "before").rename(tmp_path / "after")
    async with Store.open(f"sqlite:///{tmp_path}/after/gate.db") as store:
        assert [found.worker for found in Workers(store, journals_of(store), "w").abandoned()] == ["old"]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://u:p@db:5432/gate", "db:5432/gate"),
        ("postgresql:///gate?host=/run/a&port=5433", "/run/a:5433/gate"),
        ("sqlite:////data/a/gate.db", "SQLite /data/a/gate.db"),
        (
            f"sqlite:////{'x' * 2000}/gate.db",
            f"SHA-256 {sha256(b'SQLite /' + b'x' * 2000 + b'/gate.db').hexdigest()}",
        ),
    ],
)
def test_what_a_database_is_called_in_a_journal(url: str, name: str) -> None:
    """Servers are told apart by their sockets' folders, too, and no password is written down."""
    store = SimpleNamespace(url=sa.make_url(url))
    assert _name_of(store, Path("/shared")) == name  # type: ignore[arg-type]
