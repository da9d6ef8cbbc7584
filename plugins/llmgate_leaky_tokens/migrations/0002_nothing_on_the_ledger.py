"""The ledger's table has no trigger and no index of this surface any more: its records say who was told of them."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TOLD = """
    UPDATE usage SET told_at = at WHERE surface = 'leaky_tokens' AND request_id NOT IN
    (SELECT stream FROM leaky_tokens_outbox WHERE payload IS NULL)
"""


def upgrade() -> None:
    """Drop both. What waited to be told, or happens from now on, is collected by the outbox."""
    op.drop_index("ix_usage_leaky_tokens", "usage")
    op.execute("DROP TRIGGER leaky_tokens_usage" + ("" if _is_sqlite() else " ON usage"))
    if not _is_sqlite():
        op.execute("DROP FUNCTION leaky_tokens_usage()")
    op.execute(TOLD)
    op.execute(sa.text("DELETE FROM leaky_tokens_outbox WHERE payload IS NULL"))


def _is_sqlite() -> bool:
    return op.get_bind().dialect.name == "sqlite"
