"""Rows for tests: models, data sets and jobs as the API would write them."""

from typing import Any

from llmgate.store import Store
from llmgate_platform.tables import models
from llmgate_platform.training.queue import Job, Queue

JOB = {
    "owner_id": 1,
    "key_id": 1,
    "model_id": 1,
    "dataset_id": 1,
    "job_name": "job",
    "training_type": "coding",
    "epochs": 2,
    "learning_rate": 1e-3,
    "batch_size": 2,
    "lora_r": 4,
    "lora_alpha": 8,
    "lora_dropout": 0.0,
}


async def add_model(store: Store, **more: Any) -> None:
    row = {"name": "Base", "declared": "Base", "base_model": "base", "status": "AVAILABLE"}
    async with store.begin() as db:
        await db.execute(models.insert().values({**row, "created_at": 0.0, "updated_at": 0.0, **more}))


async def add_job(queue: Queue, **more: Any) -> Job:
    job = await queue.add({**JOB, **more}, max_unfinished=1000)
    assert job is not None
    return job
