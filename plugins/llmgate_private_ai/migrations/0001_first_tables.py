"""Teams, regions, keys, products, purchases, codes and the audit log."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _audit() -> None:
    op.create_table(
        "private_ai_audit",
        sa.Column("id", ID, primary_key=True),
        sa.Column("timestamp", sa.Double, nullable=False),
        sa.Column("user_id", ID),
        sa.Column("user_email", sa.Text),
        sa.Column("event_type", sa.Text, nullable=False),
        sa.Column("resource_type", sa.Text, nullable=False),
        sa.Column("resource_id", sa.Text),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("status_code", sa.Integer, nullable=False),
        sa.Column("ip_address", sa.Text),
        sa.Column("user_agent", sa.Text),
        sa.Column("request_source", sa.Text),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_private_ai_audit_timestamp", "private_ai_audit", ["timestamp"])
    op.create_index("ix_private_ai_audit_user_id", "private_ai_audit", ["user_id", "timestamp"])


def _pricing_tables() -> None:
    op.create_table(
        "private_ai_pricing_tables",
        sa.Column("table_type", sa.Text, primary_key=True),
        sa.Column("pricing_table_id", sa.Text, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    )


def _products() -> None:
    op.create_table(
        "private_ai_products",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("user_count", sa.Integer, nullable=False),
        sa.Column("keys_per_user", sa.Integer, nullable=False),
        sa.Column("total_key_count", sa.Integer, nullable=False),
        sa.Column("service_key_count", sa.Integer, nullable=False),
        sa.Column("max_budget_per_key", sa.Double, nullable=False),
        sa.Column("rpm_per_key", sa.Integer, nullable=False),
        sa.Column("vector_db_count", sa.Integer, nullable=False),
        sa.Column("vector_db_storage", sa.Integer, nullable=False),
        sa.Column("renewal_period_days", sa.Integer, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double),
    )


def _regions() -> None:
    op.create_table(
        "private_ai_regions",
        sa.Column("id", ID, primary_key=True),
        sa.Column("uuid", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("label", sa.Text),
        sa.Column("description", sa.Text),
        sa.Column("postgres_host", sa.Text, nullable=False),
        sa.Column("postgres_port", sa.Integer, nullable=False),
        sa.Column("postgres_admin_user", sa.Text, nullable=False),
        sa.Column("postgres_admin_password_sealed", sa.Text, nullable=False),
        sa.Column("backend_url", sa.Text, nullable=False),
        sa.Column("backend_key_sealed", sa.Text, nullable=False),
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("is_dedicated", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )


def _secrets() -> None:
    op.create_table(
        "private_ai_secrets",
        sa.Column("hash", sa.Text, primary_key=True),
        sa.Column("purpose", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("tries_left", sa.Integer, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_index("ix_private_ai_secrets_expires_at", "private_ai_secrets", ["expires_at"])
    op.create_index("ix_private_ai_secrets_subject", "private_ai_secrets", ["subject", "purpose"])


def _teams() -> None:
    op.create_table(
        "private_ai_teams",
        sa.Column("id", ID, primary_key=True, autoincrement=False),
        sa.Column("admin_email", sa.Text, nullable=False),
        sa.Column("phone", sa.Text),
        sa.Column("billing_address", sa.Text),
        sa.Column("is_always_free", sa.Boolean, nullable=False),
        sa.Column("budget_type", sa.Text, nullable=False),
        sa.Column("force_user_keys", sa.Boolean, nullable=False),
        sa.Column("stripe_customer_id", sa.Text, unique=True),
        sa.Column("last_payment", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double),
        sa.Column("deleted_at", sa.Double),
    )
    op.create_index("ix_private_ai_teams_admin_email", "private_ai_teams", ["admin_email"])


def _keys() -> None:
    op.create_table(
        "private_ai_keys",
        sa.Column("id", ID, primary_key=True),
        sa.Column("uuid", sa.Text, nullable=False, unique=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column(
            "region_id", ID, sa.ForeignKey("private_ai_regions.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("owner_id", ID),
        sa.Column("team_id", ID),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("due_at", sa.Double),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("api_key_id", ID, unique=True),
        sa.Column("token_hash", sa.Text, unique=True),
        sa.Column("token_sealed", sa.Text),
        sa.Column("database_name", sa.Text, unique=True),
        sa.Column("database_username", sa.Text),
        sa.Column("database_password_sealed", sa.Text),
        sa.Column("max_budget", sa.BigInteger),
        sa.Column("budget_duration", sa.Text),
        sa.Column("budget_started_at", sa.Double),
        sa.Column("rpm_limit", sa.Integer),
        sa.Column("expires_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_private_ai_keys_due_at", "private_ai_keys", ["due_at"])
    op.create_index("ix_private_ai_keys_owner_id", "private_ai_keys", ["owner_id"])
    op.create_index("ix_private_ai_keys_team_id", "private_ai_keys", ["team_id"])


def _notices() -> None:
    op.create_table(
        "private_ai_notices",
        sa.Column("team_id", ID, sa.ForeignKey("private_ai_teams.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("sent_at", sa.Double, nullable=False),
    )


def _purchases() -> None:
    op.create_table(
        "private_ai_purchases",
        sa.Column("id", ID, primary_key=True),
        sa.Column("team_id", ID, sa.ForeignKey("private_ai_teams.id", ondelete="CASCADE"), nullable=False),
        sa.Column(
            "region_id", ID, sa.ForeignKey("private_ai_regions.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("amount_cents", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.Text, nullable=False),
        sa.Column("stripe_payment_id", sa.Text, nullable=False, unique=True),
        sa.Column("purchased_at", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_private_ai_purchases_team_id", "private_ai_purchases", ["team_id", "region_id"])


def _region_teams() -> None:
    op.create_table(
        "private_ai_region_teams",
        sa.Column(
            "region_id", ID, sa.ForeignKey("private_ai_regions.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("team_id", ID, sa.ForeignKey("private_ai_teams.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("created_at", sa.Double, nullable=False),
    )


def _team_products() -> None:
    op.create_table(
        "private_ai_team_products",
        sa.Column("team_id", ID, sa.ForeignKey("private_ai_teams.id", ondelete="CASCADE"), primary_key=True),
        sa.Column(
            "product_id",
            sa.Text,
            sa.ForeignKey("private_ai_products.id", ondelete="RESTRICT"),
            primary_key=True,
        ),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_private_ai_team_products_product_id", "private_ai_team_products", ["product_id"])


def upgrade() -> None:
    """Create the tables."""
    _audit()
    _pricing_tables()
    _products()
    _regions()
    _secrets()
    _teams()
    _keys()
    _notices()
    _purchases()
    _region_teams()
    _team_products()
