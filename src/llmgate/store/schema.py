"""The tables of the gate, the same on SQLite and PostgreSQL.

Times (`*_at`, `at`, `window_start`) are seconds since the epoch in UTC, `duration` and `first_byte` are
seconds. Rows that the outside world names have two identifiers: `id`, an integer that is never given
twice, and `uuid`. A change here needs a revision in `migrations/versions`; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from .columns import NEVER_REUSED, Id, id_column, owner, partial_index, required

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

users = Table(
    "users",
    metadata,
    id_column(),
    Column("uuid", Text, nullable=False, unique=True),
    Column("username", Text, nullable=False, unique=True),
    Column("email", Text, unique=True),  # lower case
    Column("password_hash", Text),  # argon2id in PHC format; null: signs in by other means
    required("is_active", Boolean),
    required("created_at", Double),
    required("updated_at", Double),
    Column("service_of", Id),  # an organization, whose own keys belong to this user; null: a person
    Column("retired_at", Double),  # null: not
    Index(None, "service_of", unique=True),
    **NEVER_REUSED,
)

user_roles = Table(
    "user_roles",
    metadata,
    owner("user_id", "users", primary_key=True),
    Column("role", Text, primary_key=True),
)

organizations = Table(
    "organizations",
    metadata,
    id_column(),
    Column("uuid", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    required("is_active", Boolean),
    required("created_at", Double),
    Column("retired_at", Double),  # null: not
    Column("permissions", Text),  # JSON (see permissions.py), for all of its keys; null: as everybody
    Column("requests_per_minute", Integer),  # of all its keys together; null: as gate.toml says
    Column("expires_at", Double),
    **NEVER_REUSED,
)

memberships = Table(
    "memberships",
    metadata,
    owner("user_id", "users", primary_key=True),
    owner("organization_id", "organizations", primary_key=True),
    required("role", Text),
    Index(None, "organization_id"),
)

sessions = Table(
    "sessions",
    metadata,
    Column("id", Text, primary_key=True),
    owner("user_id", "users"),
    required("created_at", Double),
    required("expires_at", Double),
    Column("revoked_at", Double),
    Column("began_at", Double),  # the log-in that it goes back to; null: its own beginning
    Index(None, "user_id"),
    Index(None, "expires_at"),
)

# Keys are digests of an address or an account, and of an account together with an address that it was good from.
login_failures = Table(
    "login_failures",
    metadata,
    Column("key", Text, primary_key=True),
    required("failures", Integer),
    required("last_at", Double),
    required("expires_at", Double),
    Index(None, "expires_at"),
)

# Whose a response is that a backend has stored under this id: "organization:3", "user:5", or "-" for whom nobody knows.
response_owners = Table(
    "response_owners",
    metadata,
    Column("id", Text, primary_key=True),
    required("tenant", Text),
    required("at", Double),
    Index(None, "at"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("kid", Text, primary_key=True),
    required("algorithm", Text),
    required("private", Text),
    Column("public", Text),  # null where the algorithm has no public half
    required("created_at", Double),
    Column("retires_at", Double),  # null: signs; set: verifies until then
)

# A key is 256 random bits, so nothing can be guessed from its SHA-256 and a slow hash would protect nothing;
# being unsalted, the hash is also the index by which the key is found.
api_keys = Table(
    "api_keys",
    metadata,
    id_column(),
    Column("uuid", Text, nullable=False, unique=True),
    owner("user_id", "users"),
    owner("organization_id", "organizations", nullable=True),
    required("name", Text),
    Column("hash", Text, nullable=False, unique=True),
    required("prefix", Text),
    required("last_four", Text),
    required("created_at", Double),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    required("uses", BigInteger, "0"),
    Column("scope", Text),  # account, models; null: everything
    Column("requests_per_minute", Integer),  # null: as gate.toml says
    Column("permissions", Text),  # JSON (see permissions.py); null: as everybody
    Index(None, "user_id"),
    Index(None, "organization_id"),
    **NEVER_REUSED,
)

quotas = Table(
    "quotas",
    metadata,
    id_column(),
    required("subject_kind", Text),  # user, key, organization
    required("subject_id", Id),
    required("unit", Text),  # tokens, requests, money (millionths of the currency unit)
    required("upstream", Text, ""),  # '': any
    required("model", Text, ""),  # '': any
    required("window", Text),  # none, day, month, or a period such as 30d
    Column("limit", BigInteger),  # null: what gate.toml gives to every subject of this kind
    required("overdraft", BigInteger, "0"),
    required("used", BigInteger, "0"),
    required("window_start", Double, "0"),
    Column("contended_at", Double),  # when a worker last fell short while others held leases
    required("updated_at", Double),  # by an operator; 0: never. Moves forward only, over all rows
    required("anchor", Double, "0"),  # from when periods are counted
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
    required("host", Text),
    required("pid", Integer),
    required("started_at", Double),
    required("seen_at", Double),
)

leases = Table(
    "leases",
    metadata,
    owner("quota_id", "quotas", primary_key=True),
    Column("worker_id", Text, primary_key=True),
    required("window_start", Double),
    required("granted", BigInteger),  # what is not spent of it may still be spent
    required("spent", BigInteger, "0"),
    required("retained", BigInteger, "0"),  # spent, or held by running requests, when it was leased
    Index(None, "worker_id"),
)

# No foreign keys: what was used outlives who used it. No index by key: a key's records are among its user's.
# None by upstream: a time bounds what is looked at as well. Each index here is paid for by every request.
usage = Table(
    "usage",
    metadata,
    Column("request_id", Text, primary_key=True),
    required("at", Double),
    Column("user_id", Id),
    Column("key_id", Id),
    Column("organization_id", Id),
    required("route", Text),
    required("surface", Text, ""),
    required("upstream", Text),
    required("model", Text),
    required("endpoint", Text),
    required("input_tokens", BigInteger),
    required("output_tokens", BigInteger),
    required("cached_tokens", BigInteger),
    required("reasoning_tokens", BigInteger),
    required("cost", BigInteger),  # millionths of the currency unit
    required("certainty", Text),  # exact, partial, estimated
    required("outcome", Text),  # finished, aborted, failed, refused, lost
    required("status", Integer),
    required("duration", Double),
    Column("first_byte", Double),
    Column("booked", BigInteger),  # tokens charged by number; null: those used
    Column("told_at", Double),  # when the surface told others of it; null: not yet, or nobody listens
    required("asked_model", Text, ""),  # as the caller named it; model is the one that answered
    Column("engine_seconds", Double),  # as the engine says, else from its asking to the end of its answer
    required("end_user", Text, ""),  # whom a key that acts for others has named
    required("choices", Integer, "1"),  # answers asked for of each prompt
    Index(None, "at"),
    Index(None, "user_id", "at"),
    # Of surfaces' records alone; the first has all that surfaces' own reports read.
    partial_index(
        "ix_usage_surface", ("surface", "upstream", "at", "user_id", "outcome", "booked"), "surface <> ''"
    ),
    partial_index("ix_usage_untold", ("surface", "at"), "surface <> '' AND told_at IS NULL"),
)

# Whose turn it is to do what one process of the cluster does.
job_leases = Table(
    "job_leases",
    metadata,
    Column("name", Text, primary_key=True),
    required("holder", Text),
    required("expires_at", Double),
)
