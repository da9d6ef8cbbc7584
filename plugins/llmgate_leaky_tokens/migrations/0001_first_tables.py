"""Purchases, the outbox, and what analytics need of the table of usage."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_EVENT = """
    INSERT INTO leaky_tokens_outbox (stream, event, at, attempts, due_at)
    SELECT NEW.request_id, 'usage', NEW.at, 0, NEW.at FROM leaky_tokens_delivery;
"""
_CONSUMED = "NEW.surface = 'leaky_tokens' AND NEW.outcome IN ('finished', 'refused')"


def upgrade() -> None:
    """Create the tables, the index and the trigger."""
    _purchases()
    _outbox()
    # Everything that analytics read, of this surface's records only: the others pay nothing for it. SQLite
    # reads the index alone only if the column that decides what is in there is in there as well.
    op.create_index(
        "ix_usage_leaky_tokens",
        "usage",
        ["upstream", "at", "user_id", "outcome", "booked", "surface"],
        sqlite_where=sa.text("surface = 'leaky_tokens'"),
        postgresql_where=sa.text("surface = 'leaky_tokens'"),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.execute(
            f"CREATE TRIGGER leaky_tokens_usage AFTER INSERT ON usage WHEN {_CONSUMED} BEGIN {_EVENT} END"
        )
    else:
        op.execute(
            "CREATE FUNCTION leaky_tokens_usage() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN {_EVENT} RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER leaky_tokens_usage AFTER INSERT ON usage FOR EACH ROW WHEN ({_CONSUMED}) "
            "EXECUTE FUNCTION leaky_tokens_usage()"
        )


def _purchases() -> None:
    op.create_table(
        "leaky_tokens_purchases",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("organization_id", ID),
        sa.Column("provider", sa.Text, nullable=False),
        sa.Column("tokens", sa.BigInteger, nullable=False),
        sa.Column("idempotency_key", sa.Text),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("decision", sa.Text),
        sa.Column("payment", sa.Text),
        sa.Column("client_secret", sa.Text),
        sa.Column("failure", sa.Text),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Double),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leaky_tokens_purchases"),
        sa.UniqueConstraint("user_id", "idempotency_key", name="uq_leaky_tokens_purchases_idempotency_key"),
    )
    op.create_index("ix_leaky_tokens_purchases_due_at", "leaky_tokens_purchases", ["due_at"])


def _outbox() -> None:
    op.create_table(
        "leaky_tokens_outbox",
        sa.Column("id", ID, autoincrement=True),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("payload", sa.Text),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_leaky_tokens_outbox"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_leaky_tokens_outbox_stream", "leaky_tokens_outbox", ["stream", "id"])
    op.create_index("ix_leaky_tokens_outbox_due_at", "leaky_tokens_outbox", ["due_at"])
    op.create_table(
        "leaky_tokens_delivery",
        sa.Column("since", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("since", name="pk_leaky_tokens_delivery"),
    )
