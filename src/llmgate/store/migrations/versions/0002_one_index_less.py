"""Usage is found by its time or its user: an index by upstream made every request dearer and few queries cheaper."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_usage_upstream_at", "usage")
