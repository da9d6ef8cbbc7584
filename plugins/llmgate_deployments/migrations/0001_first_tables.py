"""Deployments, models and their versions."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "deployments",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("deployment_type", sa.Text, nullable=False),
        sa.Column("description", sa.Text),
        *_state(),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "deployment_models",
        sa.Column("id", ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        *(sa.Column(name, sa.Text) for name in ("display_name", "description", "base_model", "parameters")),
        sa.Column("is_public", sa.Boolean, nullable=False),
        *_state(),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "deployment_model_versions",
        sa.Column("id", ID, primary_key=True),
        sa.Column("model_id", ID, sa.ForeignKey("deployment_models.id", ondelete="CASCADE"), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("model_id", "version"),
        sa.UniqueConstraint("model_id", "sha256"),
        sqlite_autoincrement=True,
    )


def _state() -> list[sa.Column[object]]:
    return [
        sa.Column("is_active", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
    ]
