"""The tables of billing; a change needs a revision in the plugin's `migrations`. Times: seconds since the epoch."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Double, ForeignKey, Index, Integer, Table, Text

from llmgate.plugin.api import NEVER_REUSED, IdColumn

from ..tables import metadata

# What Stripe has said. A row without `done_at` is worked off, again and again until that succeeds.
stripe_events = Table(
    "private_ai_stripe_events",
    metadata,
    Column("id", Text, primary_key=True),  # Stripe's: each is taken once
    Column("type", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("error", Text),
    Column("done_at", Double),
    Index("ix_private_ai_stripe_events_due", "done_at", "due_at"),
)

# Who wants to be told of what. Without a team: everything, for system admins.
webhooks = Table(
    "private_ai_webhooks",
    metadata,
    Column("id", IdColumn, primary_key=True),
    Column("uuid", Text, nullable=False, unique=True),
    Column("team_id", IdColumn),
    Column("url", Text, nullable=False),
    Column("events", Text, nullable=False),  # JSON
    Column("secret_sealed", Text, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_private_ai_webhooks_team_id", "team_id"),
    **NEVER_REUSED,
)

deliveries = Table(
    "private_ai_deliveries",
    metadata,
    Column("id", IdColumn, primary_key=True),
    Column("webhook_id", IdColumn, ForeignKey("private_ai_webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("body", Text, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("tries", BigInteger, nullable=False),
    Column("error", Text),
    Column("done_at", Double),
    Index("ix_private_ai_deliveries_due", "done_at", "due_at"),
    Index("ix_private_ai_deliveries_webhook_id", "webhook_id"),
    **NEVER_REUSED,
)
