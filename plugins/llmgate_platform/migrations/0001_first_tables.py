"""Models, data sets, training jobs with their workers, and evaluations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create the tables."""
    _table(
        "models",
        _declared(),
        sa.Column("owner_id", ID),
        sa.Column("job_id", ID, unique=True),
        *_texts("base", "name", "base_model", "status"),
        *_texts("description", "model_size", "parameters", nullable=True),
        *_numbers("created_at", "updated_at"),
    )
    _table(
        "datasets",
        _declared(),
        sa.Column("owner_id", ID),
        *_texts("name", "dataset_type", "folder"),
        *_texts("description", "language", "license", nullable=True),
        *_counts("examples", "held_out"),
        *_numbers("created_at"),
    )
    _table(
        "jobs",
        *_ids("owner_id", "model_id", "dataset_id"),
        sa.Column("key_id", ID),
        sa.Column("result_model_id", ID),
        *_texts("dataset_folder", "job_name", "training_type", "status", "logs"),
        *_texts("wanted", "error", "worker", "device", nullable=True),
        *_counts(
            "epochs", "batch_size", "lora_r", "lora_alpha", "current_epoch", "step", "attempt", "failures"
        ),
        sa.Column("steps", sa.Integer),
        *_numbers("learning_rate", "lora_dropout", "progress", "lease_until", "seconds", "charging"),
        *_numbers("charged", "created_at"),
        *_numbers("current_loss", "started_at", "completed_at", nullable=True),
    )
    op.create_index("ix_platform_jobs_status", "platform_jobs", ["status"])
    op.create_index("ix_platform_jobs_owner_id", "platform_jobs", ["owner_id"])
    op.create_table(
        "platform_workers",
        sa.Column("id", sa.Text, primary_key=True),
        *_numbers("seen_at"),
        *_texts("problem", nullable=True),
    )
    _table(
        "evaluations",
        *_ids("owner_id", "model_id", "dataset_id"),
        *_texts("eval_name", "status"),
        *_counts("samples", "done"),
        *_numbers("perplexity", "bleu_score", "rouge_score", "response_diversity", nullable=True),
        *_numbers("avg_response_length", "score", "completed_at", nullable=True),
        *_texts("notes", "error", "runner", nullable=True),
        *_numbers("lease_until", "created_at"),
    )
    op.create_index("ix_platform_evaluations_model_id", "platform_evaluations", ["model_id"])


def _table(name: str, *columns: sa.Column[object]) -> None:
    op.create_table(
        f"platform_{name}", sa.Column("id", ID, primary_key=True), *columns, sqlite_autoincrement=True
    )


def _declared() -> sa.Column[object]:
    return sa.Column("declared", sa.Text, unique=True)


def _ids(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, ID, nullable=False) for name in names]


def _texts(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Text, nullable=nullable) for name in names]


def _counts(*names: str) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Integer, nullable=False) for name in names]


def _numbers(*names: str, nullable: bool = False) -> list[sa.Column[object]]:
    return [sa.Column(name, sa.Double, nullable=nullable) for name in names]
