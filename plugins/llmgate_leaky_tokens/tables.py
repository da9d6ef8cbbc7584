"""The tables of this surface. Times are seconds since the epoch in UTC."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, Table, Text, UniqueConstraint

from llmgate.plugin.api import IdColumn, Migrations
from llmgate.plugin.kit.outbox import outbox_tables

MIGRATIONS = Migrations("leaky_tokens", Path(__file__).parent / "migrations")

metadata = MetaData()

purchases = Table(
    "leaky_tokens_purchases",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", IdColumn, nullable=False),
    Column("organization_id", IdColumn),
    Column("provider", Text, nullable=False),
    Column("tokens", BigInteger, nullable=False),
    Column("idempotency_key", Text),
    Column("status", Text, nullable=False),
    Column("version", Integer, nullable=False),  # counts the changes of this row
    Column("decision", Text),  # of an administrator, where one has to decide: approved, rejected
    Column("payment", Text),  # what the payment is called where it is made
    Column("client_secret", Text),  # by which the payer's browser confirms it
    Column("failure", Text),
    Column("attempts", Integer, nullable=False),  # failed ones, of the step that is due
    Column("due_at", Double),  # when the next step may be tried; null: nothing is left to do
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    UniqueConstraint("user_id", "idempotency_key", name="uq_leaky_tokens_purchases_idempotency_key"),
    Index("ix_leaky_tokens_purchases_due_at", "due_at"),
)

# What is still to be told, and to whom anything is.
OUTBOX = outbox_tables("leaky_tokens", metadata)
