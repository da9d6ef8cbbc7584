"""Everything the first llmgate keeps: users, sessions, keys, organizations, quotas, usage."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables, those first that others refer to."""
    _identity()
    _credentials()
    _quotas()
    _usage()


def _column(name: str, kind: Any, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, server_default=default)


def _numbered(name: str, *parts: sa.schema.SchemaItem) -> None:
    key = sa.PrimaryKeyConstraint("id", name=f"pk_{name}")
    op.create_table(name, sa.Column("id", ID, autoincrement=True), key, *parts, sqlite_autoincrement=True)


def _owner(table: str, column: str, owner: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{owner}"
    return sa.ForeignKeyConstraint([column], [f"{owner}.id"], name=name, ondelete="CASCADE")


def _index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _identity() -> None:
    _numbered(
        "users",
        _column("uuid", sa.Text),
        _column("username", sa.Text),
        sa.Column("email", sa.Text),
        sa.Column("password_hash", sa.Text),
        _column("is_active", sa.Boolean),
        _column("created_at", sa.Double),
        _column("updated_at", sa.Double),
        sa.UniqueConstraint("uuid", name="uq_users_uuid"),
        sa.UniqueConstraint("username", name="uq_users_username"),
        sa.UniqueConstraint("email", name="uq_users_email"),
    )
    op.create_table(
        "user_roles",
        _column("user_id", ID),
        _column("role", sa.Text),
        sa.PrimaryKeyConstraint("user_id", "role", name="pk_user_roles"),
        _owner("user_roles", "user_id", "users"),
    )
    _numbered(
        "organizations",
        _column("uuid", sa.Text),
        _column("name", sa.Text),
        _column("is_active", sa.Boolean),
        _column("created_at", sa.Double),
        sa.UniqueConstraint("uuid", name="uq_organizations_uuid"),
        sa.UniqueConstraint("name", name="uq_organizations_name"),
    )
    op.create_table(
        "memberships",
        _column("user_id", ID),
        _column("organization_id", ID),
        _column("role", sa.Text),
        sa.PrimaryKeyConstraint("user_id", "organization_id", name="pk_memberships"),
        _owner("memberships", "user_id", "users"),
        _owner("memberships", "organization_id", "organizations"),
    )
    _index("memberships", "organization_id")


def _credentials() -> None:
    op.create_table(
        "sessions",
        _column("id", sa.Text),
        _column("user_id", ID),
        _column("created_at", sa.Double),
        _column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
        _owner("sessions", "user_id", "users"),
    )
    _index("sessions", "user_id")
    _index("sessions", "expires_at")
    op.create_table(
        "signing_keys",
        _column("kid", sa.Text),
        _column("algorithm", sa.Text),
        _column("private", sa.Text),
        sa.Column("public", sa.Text),
        _column("created_at", sa.Double),
        sa.Column("retires_at", sa.Double),
        sa.PrimaryKeyConstraint("kid", name="pk_signing_keys"),
    )
    _numbered(
        "api_keys",
        _column("uuid", sa.Text),
        _column("user_id", ID),
        sa.Column("organization_id", ID),
        _column("name", sa.Text),
        _column("hash", sa.Text),
        _column("prefix", sa.Text),
        _column("last_four", sa.Text),
        _column("created_at", sa.Double),
        sa.Column("expires_at", sa.Double),
        sa.Column("revoked_at", sa.Double),
        sa.Column("last_used_at", sa.Double),
        _column("uses", sa.BigInteger, "0"),
        sa.UniqueConstraint("uuid", name="uq_api_keys_uuid"),
        sa.UniqueConstraint("hash", name="uq_api_keys_hash"),
        _owner("api_keys", "user_id", "users"),
        _owner("api_keys", "organization_id", "organizations"),
    )
    _index("api_keys", "user_id")
    _index("api_keys", "organization_id")


def _quotas() -> None:
    subject = ["subject_kind", "subject_id", "unit", "upstream", "model", "window"]
    _numbered(
        "quotas",
        _column("subject_kind", sa.Text),
        _column("subject_id", ID),
        _column("unit", sa.Text),
        _column("upstream", sa.Text, ""),
        _column("model", sa.Text, ""),
        _column("window", sa.Text),
        sa.Column("limit", sa.BigInteger),
        _column("overdraft", sa.BigInteger, "0"),
        _column("used", sa.BigInteger, "0"),
        _column("window_start", sa.Double, "0"),
        sa.Column("contended_at", sa.Double),
        _column("updated_at", sa.Double),
        sa.UniqueConstraint(*subject, name=f"uq_quotas_{'_'.join(subject)}"),
    )
    _index("quotas", "updated_at")
    op.create_table(
        "workers",
        _column("id", sa.Text),
        _column("host", sa.Text),
        _column("pid", sa.Integer),
        _column("started_at", sa.Double),
        _column("seen_at", sa.Double),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_table(
        "leases",
        _column("quota_id", ID),
        _column("worker_id", sa.Text),
        _column("window_start", sa.Double),
        _column("given", sa.BigInteger),
        _column("spent", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("quota_id", "worker_id", name="pk_leases"),
        _owner("leases", "quota_id", "quotas"),
    )
    _index("leases", "worker_id")


def _usage() -> None:
    op.create_table(
        "usage",
        _column("request_id", sa.Text),
        _column("at", sa.Double),
        sa.Column("user_id", ID),
        sa.Column("key_id", ID),
        sa.Column("organization_id", ID),
        _column("route", sa.Text),
        _column("surface", sa.Text, ""),
        _column("upstream", sa.Text),
        _column("model", sa.Text),
        _column("endpoint", sa.Text),
        _column("input_tokens", sa.BigInteger),
        _column("output_tokens", sa.BigInteger),
        _column("cached_tokens", sa.BigInteger),
        _column("reasoning_tokens", sa.BigInteger),
        _column("cost", sa.BigInteger),
        _column("certainty", sa.Text),
        _column("outcome", sa.Text),
        _column("status", sa.Integer),
        _column("duration", sa.Double),
        sa.Column("first_byte", sa.Double),
        sa.Column("booked", sa.BigInteger),
        sa.PrimaryKeyConstraint("request_id", name="pk_usage"),
    )
    _index("usage", "at")
    _index("usage", "user_id", "at")
    _index("usage", "upstream", "at")
