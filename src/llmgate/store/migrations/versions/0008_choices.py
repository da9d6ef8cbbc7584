"""How many answers were asked for of each prompt: some backends count a prompt once for each."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the column. Of old records nobody knows."""
    op.add_column("usage", sa.Column("choices", sa.Integer, nullable=False, server_default="1"))
