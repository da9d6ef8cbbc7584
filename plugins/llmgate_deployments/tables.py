"""The plugin's tables; a change here needs a revision in `migrations`. Times are seconds since the epoch."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import BigInteger, Boolean, Double, Integer, MetaData, Table, Text, UniqueConstraint

from llmgate.plugin.api import NEVER_REUSED, Migrations, id_column, owner_column
from llmgate.plugin.kit.tables import optional, required

MIGRATIONS = Migrations("deployments", Path(__file__).parent / "migrations")

metadata = MetaData()

deployments = Table(
    "deployments",
    metadata,
    id_column(),
    *required(name=Text, host=Text, port=Integer, deployment_type=Text),
    *optional(description=Text),
    *required(is_active=Boolean, created_at=Double, updated_at=Double),
    UniqueConstraint("name"),
    **NEVER_REUSED,
)

models = Table(
    "deployment_models",
    metadata,
    id_column(),
    *required(name=Text),
    *optional(display_name=Text, description=Text, base_model=Text, parameters=Text),
    *required(is_public=Boolean, is_active=Boolean, created_at=Double, updated_at=Double),
    UniqueConstraint("name"),
    **NEVER_REUSED,
)

# The file of a version is called by its checksum: the same content is stored once.
versions = Table(
    "deployment_model_versions",
    metadata,
    id_column(),
    owner_column("model_id", "deployment_models"),
    *required(version=Integer, size=BigInteger, sha256=Text, created_at=Double),
    UniqueConstraint("model_id", "version"),
    UniqueConstraint("model_id", "sha256"),
    **NEVER_REUSED,
)
