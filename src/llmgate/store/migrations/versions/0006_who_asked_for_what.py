"""What was asked for, by whom in the end, how long the engine worked; what a key or an organization may do."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the columns. Old records have no word of it."""
    op.add_column("usage", sa.Column("asked_model", sa.Text, nullable=False, server_default=""))
    op.add_column("usage", sa.Column("engine_seconds", sa.Double))
    op.add_column("usage", sa.Column("end_user", sa.Text, nullable=False, server_default=""))
    op.add_column("api_keys", sa.Column("permissions", sa.Text))
    op.add_column("organizations", sa.Column("permissions", sa.Text))
    op.add_column("organizations", sa.Column("requests_per_minute", sa.Integer))
    op.add_column("organizations", sa.Column("expires_at", sa.Double))
