"""Rows for tests: models, data sets and jobs as the API would write them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from llmgate.store import Store
from llmgate_platform.tables import models
from llmgate_platform.training.jobs import Job, Queue

T = TypeVar("T")

JOB = {
    "owner_id": 1,
    "key_id": 1,
    "model_id": 1,
    "dataset_id": 1,
    "dataset_folder": "folder",
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
    row = {"name": "Base", "declared": "Base", "base": "Base", "base_model": "base", "status": "AVAILABLE"}
    async with store.begin() as db:
        await db.execute(models.insert().values({**row, "created_at": 0.0, "updated_at": 0.0, **more}))


async def add_job(queue: Queue, **more: Any) -> Job:
    job = await queue.add({**JOB, **more}, max_unfinished=1000)
    assert job is not None
    return job


async def eventually(look: Callable[[], Awaitable[T]], good: Callable[[T], bool], seconds: float = 60.0) -> T:
    """What `look` finds once it is `good`: other processes tell nobody when they write to the store."""
    async with asyncio.timeout(seconds):
        while not good(found := await look()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    return found
