"""The plugin's tables; a change here needs a revision in `migrations`. Times are seconds since the epoch.

No foreign keys to users: jobs, models and scores outlive who made them, as usage records do.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Column, Double, Index, Integer, MetaData, Table, Text

from llmgate.plugin.api import NEVER_REUSED, Migrations, id_column
from llmgate.plugin.api import IdColumn as Id
from llmgate.plugin.kit.jobs import job_columns, worker_table
from llmgate.plugin.kit.tables import optional, required

MIGRATIONS = Migrations("platform", Path(__file__).parent / "migrations")

metadata = MetaData()

# `base` names a model of gate.toml: this one (`declared`), the one it is another name for, or the one whose adapter
# the job has made.
models = Table(
    "platform_models",
    metadata,
    id_column(),
    Column("declared", Text, unique=True),
    Column("job_id", Id, unique=True),
    *required(base=Text, name=Text, base_model=Text, status=Text, created_at=Double, updated_at=Double),
    *optional(owner_id=Id, description=Text, model_size=Text, parameters=Text),
    **NEVER_REUSED,
)

# `folder` is where, below the artifacts, its lines are: train.jsonl and test.jsonl, which is held out.
datasets = Table(
    "platform_datasets",
    metadata,
    id_column(),
    Column("declared", Text, unique=True),
    *required(
        name=Text, dataset_type=Text, folder=Text, examples=Integer, held_out=Integer, created_at=Double
    ),
    *optional(owner_id=Id, description=Text, language=Text, license=Text),
    **NEVER_REUSED,
)


def _zeros(**kinds: Any) -> list[Column[Any]]:
    return [Column(name, kind, nullable=False, default=0) for name, kind in kinds.items()]


# Of the `seconds` of a GPU or CPU that were spent on it, `charged` are in the ledger and `charging` will be (see
# `charges`).
jobs = Table(
    "platform_jobs",
    metadata,
    id_column(),
    *job_columns(),
    *required(
        owner_id=Id, model_id=Id, dataset_id=Id, dataset_folder=Text, job_name=Text, training_type=Text
    ),
    *required(epochs=Integer, learning_rate=Double, batch_size=Integer),
    *required(lora_r=Integer, lora_alpha=Integer, lora_dropout=Double),
    *_zeros(current_epoch=Integer, step=Integer, charging=Double, charged=Double),
    *optional(key_id=Id, result_model_id=Id, current_loss=Double, steps=Integer, device=Text),
    Index("ix_platform_jobs_status", "status"),
    Index("ix_platform_jobs_owner_id", "owner_id"),
    **NEVER_REUSED,
)

workers = worker_table("platform_workers", metadata)

evaluations = Table(
    "platform_evaluations",
    metadata,
    id_column(),
    *required(owner_id=Id, model_id=Id, dataset_id=Id, eval_name=Text, status=Text, samples=Integer),
    *required(created_at=Double),
    *_zeros(done=Integer, lease_until=Double),
    *optional(perplexity=Double, bleu_score=Double, rouge_score=Double, response_diversity=Double),
    *optional(
        avg_response_length=Double, score=Double, notes=Text, error=Text, runner=Text, completed_at=Double
    ),
    Index("ix_platform_evaluations_model_id", "model_id"),
    **NEVER_REUSED,
)
