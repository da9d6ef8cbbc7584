"""The plugin's tables; a change here needs a revision in `migrations`. Times are seconds since the epoch.

No foreign keys to users: jobs, models and scores outlive who made them, as usage records do.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Column, Double, Index, Integer, MetaData, Table, Text

from llmgate.plugin.api import NEVER_REUSED, Migrations
from llmgate.plugin.api import IdColumn as Id

MIGRATIONS = Migrations("platform", Path(__file__).parent / "migrations")

metadata = MetaData()

# `base` names a model of gate.toml: this one (`declared`), the one it is another name for, or the one whose adapter
# the job has made.
models = Table(
    "platform_models",
    metadata,
    Column("id", Id, primary_key=True),
    Column("declared", Text, unique=True),
    Column("base", Text, nullable=False),
    Column("owner_id", Id),
    Column("job_id", Id, unique=True),
    Column("name", Text, nullable=False),
    Column("base_model", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("description", Text),
    Column("model_size", Text),
    Column("parameters", Text),
    Column("created_at", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    **NEVER_REUSED,
)

# `folder` is where, below the artifacts, its lines are: train.jsonl and test.jsonl, which is held out.
datasets = Table(
    "platform_datasets",
    metadata,
    Column("id", Id, primary_key=True),
    Column("declared", Text, unique=True),
    Column("owner_id", Id),
    Column("name", Text, nullable=False),
    Column("description", Text),
    Column("language", Text),
    Column("dataset_type", Text, nullable=False),
    Column("license", Text),
    Column("folder", Text, nullable=False),
    Column("examples", Integer, nullable=False),
    Column("held_out", Integer, nullable=False),
    Column("created_at", Double, nullable=False),
    **NEVER_REUSED,
)

# A worker holds a job until `lease_until`; `attempt` counts how often it was taken, `failures` how often its
# trainer or worker died. `seconds` of a GPU or CPU were spent on it, of which `charged` are in the ledger and
# `charging` will be (see `charges`).
jobs = Table(
    "platform_jobs",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner_id", Id, nullable=False),
    Column("key_id", Id),
    Column("model_id", Id, nullable=False),
    Column("dataset_id", Id, nullable=False),
    Column("dataset_folder", Text, nullable=False),
    Column("result_model_id", Id),
    Column("job_name", Text, nullable=False),
    Column("training_type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("wanted", Text),
    Column("epochs", Integer, nullable=False),
    Column("learning_rate", Double, nullable=False),
    Column("batch_size", Integer, nullable=False),
    Column("lora_r", Integer, nullable=False),
    Column("lora_alpha", Integer, nullable=False),
    Column("lora_dropout", Double, nullable=False),
    Column("progress", Double, nullable=False, default=0.0),
    Column("current_epoch", Integer, nullable=False, default=0),
    Column("current_loss", Double),
    Column("step", Integer, nullable=False, default=0),
    Column("steps", Integer),
    Column("logs", Text, nullable=False, default=""),
    Column("error", Text),
    Column("attempt", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("worker", Text),
    Column("lease_until", Double, nullable=False, default=0.0),
    Column("device", Text),
    Column("seconds", Double, nullable=False, default=0.0),
    Column("charging", Double, nullable=False, default=0.0),
    Column("charged", Double, nullable=False, default=0.0),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("completed_at", Double),
    Index("ix_platform_jobs_status", "status"),
    Index("ix_platform_jobs_owner_id", "owner_id"),
    **NEVER_REUSED,
)

# Those that look for jobs, and what keeps them from taking one.
workers = Table(
    "platform_workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seen_at", Double, nullable=False),
    Column("problem", Text),
)

evaluations = Table(
    "platform_evaluations",
    metadata,
    Column("id", Id, primary_key=True),
    Column("owner_id", Id, nullable=False),
    Column("model_id", Id, nullable=False),
    Column("dataset_id", Id, nullable=False),
    Column("eval_name", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("done", Integer, nullable=False, default=0),
    Column("perplexity", Double),
    Column("bleu_score", Double),
    Column("rouge_score", Double),
    Column("response_diversity", Double),
    Column("avg_response_length", Double),
    Column("score", Double),
    Column("notes", Text),
    Column("error", Text),
    Column("runner", Text),
    Column("lease_until", Double, nullable=False, default=0.0),
    Column("created_at", Double, nullable=False),
    Column("completed_at", Double),
    Index("ix_platform_evaluations_model_id", "model_id"),
    **NEVER_REUSED,
)
