"""The tables of the gate, the same on SQLite and PostgreSQL.

Times (`*_at`, `at`, `window_start`) are seconds since the epoch in UTC, `duration` and `first_byte` are
seconds. Rows that the outside world names have two identifiers: `id`, an integer that is never given
twice, and `uuid`. A change here needs a revision in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows only in a column declared INTEGER, which holds 64 bits there all the same.
Id = BigInteger().with_variant(Integer, "sqlite")

# PostgreSQL's sequences never go back; SQLite gives the id of a deleted last row again unless told not to.
NEVER_REUSED: dict[str, Any] = {"sqlite_autoincrement": True}


def _id() -> Column[int]:
    return Column("id", Id, primary_key=True, autoincrement=True)


def _required(name: str, kind: Any, default: str | None = None) -> Column[Any]:
    return Column(name, kind, nullable=False, server_default=default)


def _owner(name: str, table: str, *, primary_key: bool = False, nullable: bool = False) -> Column[int]:
    reference = ForeignKey(f"{table}.id", ondelete="CASCADE")
    return Column(name, Id, reference, primary_key=primary_key, nullable=nullable)


def _partial(name: str, columns: tuple[str, ...], where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where), postgresql_where=text(where))


users = Table(
    "users",
    metadata,
    _id(),
    Column("uuid", Text, nullable=False, unique=True),
    Column("username", Text, nullable=False, unique=True),
    Column("email", Text, unique=True),  # lower case
    Column("password_hash", Text),  # argon2id in PHC format; null: signs in by other means
    _required("is_active", Boolean),
    _required("created_at", Double),
    _required("updated_at", Double),
    Column("service_of", Id),  # an organization, whose own keys belong to this user; null: a person
    Column("retired_at", Double),  # null: not
    Index(None, "service_of", unique=True),
    **NEVER_REUSED,
)

user_roles = Table(
    "user_roles",
    metadata,
    _owner("user_id", "users", primary_key=True),
    Column("role", Text, primary_key=True),
)

organizations = Table(
    "organizations",
    metadata,
    _id(),
    Column("uuid", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    _required("is_active", Boolean),
    _required("created_at", Double),
    Column("retired_at", Double),  # null: not
    **NEVER_REUSED,
)

memberships = Table(
    "memberships",
    metadata,
    _owner("user_id", "users", primary_key=True),
    _owner("organization_id", "organizations", primary_key=True),
    _required("role", Text),
    Index(None, "organization_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    _owner("user_id", "users"),
    _required("created_at", Double),
    _required("expires_at", Double),
    Column("revoked_at", Double),
    Column("began_at", Double),  # the log-in that it goes back to; null: its own beginning
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    _required("algorithm", Text),
    _required("private", Text),
    Column("public", Text),  # null where the algorithm has no public half
    _required("created_at", Double),
    Column("retires_at", Double),  # null: signs; set: verifies until then
)

# A key is 256 random bits, so nothing can be guessed from its SHA-256 and a slow hash would protect nothing;
# being unsalted, the hash is also the index by which the key is found.
api_keys = Table(
    "api_keys",
    metadata,
    _id(),
    Column("uuid", Text, nullable=False, unique=True),
    _owner("user_id", "users"),
    _owner("organization_id", "organizations", nullable=True),
    _required("name", Text),
    Column("hash", Text, nullable=False, unique=True),
    _required("prefix", Text),
    _required("last_four", Text),
    _required("created_at", Double),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    _required("uses", BigInteger, "0"),
    Column("scope", Text),  # account, models; null: everything
    Column("requests_per_minute", Integer),  # null: as gate.toml says
    Index(None, "user_id"),
    Index(None, "organization_id"),
    **NEVER_REUSED,
)

quotas = Table(
    "quotas",
    metadata,
    _id(),
    _required("subject_kind", Text),  # user, key, organization
    _required("subject_id", Id),
    _required("unit", Text),  # tokens, requests, money (millionths of the currency unit)
    _required("upstream", Text, ""),  # '': any
    _required("model", Text, ""),  # '': any
    _required("window", Text),  # none, day, month, or a period such as 30d
    Column("limit", BigInteger),  # null: what gate.toml gives to every subject of this kind
    _required("overdraft", BigInteger, "0"),
    _required("used", BigInteger, "0"),
    _required("window_start", Double, "0"),
    Column("contended_at", Double),  # when a worker last fell short while others held leases
    _required("updated_at", Double),  # by an operator; 0: never. Moves forward only, over all rows
    _required("anchor", Double, "0"),  # from when periods are counted
    Column("expires_at", Double),  # from then on nothing is left of it
    UniqueConstraint("subject_kind", "subject_id", "unit", "upstream", "model", "window"),
    Index(None, "updated_at"),
    **NEVER_REUSED,
)

# The gate's processes that are alive, and what each may spend without asking (see ledger/leases.py).
workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    _required("host", Text),
    _required("pid", Integer),
    _required("started_at", Double),
    _required("seen_at", Double),
)

leases = Table(
    "leases",
    metadata,
    _owner("quota_id", "quotas", primary_key=True),
    Column("worker_id", Text, primary_key=True),
    _required("window_start", Double),
    _required("granted", BigInteger),  # what is not spent of it may still be spent
    _required("spent", BigInteger, "0"),
    _required("retained", BigInteger, "0"),  # spent, or held by running requests, when it was leased
    Index(None, "worker_id"),
)

# No foreign keys: what was used outlives who used it. No index by key: a key's records are among its user's.
# None by upstream: a time bounds what is looked at as well. Each index here is paid for by every request.
usage = Table(
    "usage",
    metadata,
    Column("request_id", Text, primary_key=True),
    _required("at", Double),
    Column("user_id", Id),
    Column("key_id", Id),
    Column("organization_id", Id),
    _required("route", Text),
    _required("surface", Text, ""),
    _required("upstream", Text),
    _required("model", Text),
    _required("endpoint", Text),
    _required("input_tokens", BigInteger),
    _required("output_tokens", BigInteger),
    _required("cached_tokens", BigInteger),
    _required("reasoning_tokens", BigInteger),
    _required("cost", BigInteger),  # millionths of the currency unit
    _required("certainty", Text),  # exact, partial, estimated
    _required("outcome", Text),  # finished, aborted, failed, refused, lost
    _required("status", Integer),
    _required("duration", Double),
    Column("first_byte", Double),
    Column("booked", BigInteger),  # tokens charged by number; null: those used
    Column("told_at", Double),  # when the surface told others of it; null: not yet, or nobody listens
    Index(None, "at"),
    Index(None, "user_id", "at"),
    # Of surfaces' records alone; the first has all that surfaces' own reports read.
    _partial(
        "ix_usage_surface", ("surface", "upstream", "at", "user_id", "outcome", "booked"), "surface <> ''"
    ),
    _partial("ix_usage_untold", ("surface", "at"), "surface <> '' AND told_at IS NULL"),
)

# Whose turn it is to do what one process of the cluster does.
job_leases = Table(
    "job_leases",
    metadata,
    Column("name", Text, primary_key=True),
    _required("holder", Text),
    _required("expires_at", Double),
)
