"""The plugin's tables; a change here needs a revision in `migrations`. Times are seconds since the epoch."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from llmgate.plugin.api import NEVER_REUSED, IdColumn, Migrations

MIGRATIONS = Migrations("deployments", Path(__file__).parent / "migrations")

metadata = MetaData()

deployments = Table(
    "deployments",
    metadata,
    Column("id", IdColumn, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("host", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("deployment_type", Text, nullable=False),
    Column("description", Text),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    **NEVER_REUSED,
)

models = Table(
    "deployment_models",
    metadata,
    Column("id", IdColumn, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("display_name", Text),
    Column("description", Text),
    Column("base_model", Text),
    Column("parameters", Text),
    Column("is_public", Boolean, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    **NEVER_REUSED,
)

# The file of a version is called by its checksum: the same content is stored once.
versions = Table(
    "deployment_model_versions",
    metadata,
    Column("id", IdColumn, primary_key=True),
    Column("model_id", IdColumn, ForeignKey("deployment_models.id", ondelete="CASCADE"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    UniqueConstraint("model_id", "version"),
    UniqueConstraint("model_id", "sha256"),
    **NEVER_REUSED,
)
