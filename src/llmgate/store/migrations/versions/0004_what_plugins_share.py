"""Leases of jobs that one process of the cluster does; usage records that a surface has still to tell of."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add them. The indexes have records of surfaces alone: those of routes pay nothing for them."""
    op.create_table(
        "job_leases",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_job_leases"),
    )
    op.add_column("usage", sa.Column("told_at", sa.Double))
    of_surfaces = sa.text("surface <> ''")
    untold = sa.text("surface <> '' AND told_at IS NULL")
    columns = ["surface", "upstream", "at", "user_id", "outcome", "booked"]
    op.create_index(
        "ix_usage_surface", "usage", columns, sqlite_where=of_surfaces, postgresql_where=of_surfaces
    )
    op.create_index(
        "ix_usage_untold", "usage", ["surface", "at"], sqlite_where=untold, postgresql_where=untold
    )
