"""Periods of quotas that are counted from an anchor, and quotas that expire; keys with a scope and a limit a minute;
what workers hold of their leases; service users of organizations; who and what was retired; when the log-in of a
session was."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the columns; what is there goes on to mean what it did."""
    op.add_column("quotas", sa.Column("anchor", sa.Double, nullable=False, server_default="0"))
    op.add_column("quotas", sa.Column("expires_at", sa.Double))
    op.add_column("api_keys", sa.Column("scope", sa.Text))
    op.add_column("api_keys", sa.Column("requests_per_minute", sa.Integer))
    op.add_column("users", sa.Column("service_of", ID))
    op.add_column("users", sa.Column("retired_at", sa.Double))
    op.add_column("organizations", sa.Column("retired_at", sa.Double))
    op.add_column("sessions", sa.Column("began_at", sa.Double))
    op.execute("ALTER TABLE leases RENAME COLUMN given TO granted")
    op.add_column("leases", sa.Column("retained", sa.BigInteger, nullable=False, server_default="0"))
    op.create_index("ix_users_service_of", "users", ["service_of"], unique=True)
