"""The plugin's tables; a change here needs a revision in `migrations`. Times are seconds since the epoch.

A team is an organization of the gate, a member's role its membership's, an LLM token an API key. What is
sealed (`llmgate.store.sealed`) stands in columns that end in `_sealed`, under the row's `uuid`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, Table, Text

from llmgate.plugin.api import NEVER_REUSED, IdColumn, Migrations
from llmgate.plugin.kit.audit import audit_table
from llmgate.plugin.kit.one_time_codes import one_time_secrets

MIGRATIONS = Migrations("private_ai", Path(__file__).parent / "migrations")

metadata = MetaData()


def _required(name: str, kind: Any) -> Column[Any]:
    return Column(name, kind, nullable=False)


def _owner(name: str, table: str, **options: Any) -> Column[Any]:
    return Column(name, IdColumn, ForeignKey(f"private_ai_{table}.id", ondelete="CASCADE"), **options)


teams = Table(
    "private_ai_teams",
    metadata,
    Column("id", IdColumn, primary_key=True, autoincrement=False),  # of the organization
    _required("admin_email", Text),
    Column("phone", Text),
    Column("billing_address", Text),
    _required("is_always_free", Boolean),
    _required("budget_type", Text),  # periodic, pool
    _required("force_user_keys", Boolean),
    Column("stripe_customer_id", Text, unique=True),
    Column("last_payment", Double),
    _required("created_at", Double),
    Column("updated_at", Double),
    Column("deleted_at", Double),
    Index("ix_private_ai_teams_admin_email", "admin_email"),
)

regions = Table(
    "private_ai_regions",
    metadata,
    Column("id", IdColumn, primary_key=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False, unique=True),
    Column("label", Text),
    Column("description", Text),
    _required("postgres_host", Text),
    _required("postgres_port", Integer),
    _required("postgres_admin_user", Text),
    _required("postgres_admin_password_sealed", Text),
    _required("backend_url", Text),  # or route:NAME
    _required("backend_key_sealed", Text),
    _required("is_active", Boolean),
    _required("is_dedicated", Boolean),
    _required("created_at", Double),
    **NEVER_REUSED,
)

region_teams = Table(
    "private_ai_region_teams",
    metadata,
    _owner("region_id", "regions", primary_key=True),
    _owner("team_id", "teams", primary_key=True),
    _required("created_at", Double),
)

keys = Table(
    "private_ai_keys",
    metadata,
    Column("id", IdColumn, primary_key=True),
    Column("uuid", Text, nullable=False, unique=True),
    _required("name", Text),
    _owner("region_id", "regions", nullable=False),
    Column("owner_id", IdColumn),  # a user, or
    Column("team_id", IdColumn),  # a team
    _required("state", Text),  # creating, live, deleting, abandoned
    Column(
        "due_at", Double
    ),  # when a job may take the next step of a creation or deletion; null: nothing is left
    _required("attempts", Integer),
    Column("api_key_id", IdColumn, unique=True),  # null: a database alone
    Column("token_hash", Text, unique=True),
    Column("token_sealed", Text),
    Column("database_name", Text, unique=True),  # null: a token alone
    Column("database_username", Text),
    Column("database_password_sealed", Text),
    Column("max_budget", BigInteger),  # millionths
    Column("budget_duration", Text),
    Column("budget_started_at", Double),  # from when its periods are counted
    Column("rpm_limit", Integer),
    Column("expires_at", Double),  # its own end; the trial may end it before
    _required("created_at", Double),
    _required("updated_at", Double),
    Index("ix_private_ai_keys_owner_id", "owner_id"),
    Index("ix_private_ai_keys_team_id", "team_id"),
    Index("ix_private_ai_keys_due_at", "due_at"),
    **NEVER_REUSED,
)

products = Table(
    "private_ai_products",
    metadata,
    Column("id", Text, primary_key=True),
    _required("name", Text),
    _required("user_count", Integer),
    _required("keys_per_user", Integer),
    _required("total_key_count", Integer),
    _required("service_key_count", Integer),
    _required("max_budget_per_key", Double),
    _required("rpm_per_key", Integer),
    _required("vector_db_count", Integer),
    _required("vector_db_storage", Integer),
    _required("renewal_period_days", Integer),
    _required("active", Boolean),
    _required("created_at", Double),
    Column("updated_at", Double),
)

team_products = Table(
    "private_ai_team_products",
    metadata,
    _owner("team_id", "teams", primary_key=True),
    Column("product_id", Text, ForeignKey("private_ai_products.id", ondelete="RESTRICT"), primary_key=True),
    _required("created_at", Double),
    Index("ix_private_ai_team_products_product_id", "product_id"),
)

pricing_tables = Table(
    "private_ai_pricing_tables",
    metadata,
    Column("table_type", Text, primary_key=True),  # standard, always_free
    _required("pricing_table_id", Text),
    _required("updated_at", Double),
)

purchases = Table(
    "private_ai_purchases",
    metadata,
    Column("id", IdColumn, primary_key=True),
    _owner("team_id", "teams", nullable=False),
    _owner("region_id", "regions", nullable=False),
    _required("amount_cents", BigInteger),
    _required("currency", Text),
    Column("stripe_payment_id", Text, nullable=False, unique=True),
    _required("purchased_at", Double),
    _required("created_at", Double),
    Index("ix_private_ai_purchases_team_id", "team_id", "region_id"),
    **NEVER_REUSED,
)

# When a team was last told something: each kind of mail goes out at most once a day.
notices = Table(
    "private_ai_notices",
    metadata,
    _owner("team_id", "teams", primary_key=True),
    Column("kind", Text, primary_key=True),
    _required("sent_at", Double),
)

secrets = one_time_secrets("private_ai_secrets", metadata)

# No foreign keys: what was done outlives who did it.
audit = audit_table("private_ai_audit", metadata)
