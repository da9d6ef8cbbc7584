"""Rules that every table of the core keeps; that revisions make these tables, test_migrations.py tells."""

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from llmgate.store.schema import api_keys, metadata, usage, user_roles, users

TABLES = pytest.mark.parametrize("table", metadata.sorted_tables, ids=lambda table: table.name)


@TABLES
def test_a_table_has_a_primary_key_and_numbers_no_row_twice(table: sa.Table) -> None:
    assert len(table.primary_key) > 0
    numbered = [column for column in table.primary_key if column.autoincrement is True]
    if numbered:
        assert table.dialect_options["sqlite"]["autoincrement"] is True


@TABLES
def test_times_and_durations_are_seconds(table: sa.Table) -> None:
    for column in table.c:
        if column.name.endswith("_at") or column.name in ("at", "window_start", "duration", "first_byte"):
            assert isinstance(column.type, sa.Double), column


@TABLES
def test_what_is_counted_has_64_bits(table: sa.Table) -> None:
    for column in table.c:
        if column.name in ("used", "limit", "granted", "spent", "cost") or column.name.endswith("_tokens"):
            assert isinstance(column.type, sa.BigInteger), column


def test_usage_belongs_to_nobody_who_could_take_it_along() -> None:
    """A record outlives the user and the key that it names."""
    assert list(usage.foreign_keys) == []


@pytest.fixture
def db() -> sa.Connection:
    engine = sa.create_engine("sqlite://")
    metadata.create_all(engine)
    connection = engine.connect()
    connection.execute(sa.text("PRAGMA foreign_keys = ON"))
    ann = {"id": 1, "uuid": "u", "username": "ann", "is_active": True, "created_at": 0.0, "updated_at": 0.0}
    connection.execute(users.insert().values(ann))
    return connection


def test_a_name_is_one_users(db: sa.Connection) -> None:
    other = {"id": 2, "uuid": "v", "username": "ann", "is_active": True, "created_at": 0.0, "updated_at": 0.0}
    with pytest.raises(IntegrityError):
        db.execute(users.insert().values(other))


def test_roles_go_with_their_user(db: sa.Connection) -> None:
    db.execute(user_roles.insert().values(user_id=1, role="admin"))
    db.execute(users.delete())
    assert db.execute(sa.select(user_roles)).all() == []


def test_a_key_is_known_by_its_hash_alone() -> None:
    """Nothing in the table opens anything."""
    assert {"key_hash", "hash"} & set(api_keys.c.keys())
    assert not {"secret", "key", "token"} & set(api_keys.c.keys())
