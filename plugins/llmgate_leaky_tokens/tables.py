"""The tables of this surface. Times are seconds since the epoch in UTC."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, UniqueConstraint

from llmgate.plugin.api import IdColumn, Migrations
from llmgate.plugin.kit.outbox import outbox_tables
from llmgate.plugin.kit.saga import saga_columns
from llmgate.plugin.kit.tables import optional, required

MIGRATIONS = Migrations("leaky_tokens", Path(__file__).parent / "migrations")

metadata = MetaData()

purchases = Table(
    "leaky_tokens_purchases",
    metadata,
    Column("id", Text, primary_key=True),
    *required(user_id=IdColumn, provider=Text, tokens=BigInteger),
    *optional(organization_id=IdColumn, idempotency_key=Text),
    Column("decision", Text),  # of an administrator, where one has to decide: approved, rejected
    Column("payment", Text),  # what the payment is called where it is made
    Column("client_secret", Text),  # by which the payer's browser confirms it
    Column("failure", Text),
    *saga_columns("leaky_tokens_purchases"),
    UniqueConstraint("user_id", "idempotency_key", name="uq_leaky_tokens_purchases_idempotency_key"),
)

# What is still to be told, and to whom anything is.
OUTBOX = outbox_tables("leaky_tokens", metadata)
