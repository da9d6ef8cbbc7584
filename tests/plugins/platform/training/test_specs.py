"""What a trainer is told of a job, and why it is told of none."""

import json
from pathlib import Path
from typing import Any

import pytest

from llmgate.store import Store
from llmgate_platform.artifacts import Artifacts
from llmgate_platform.datasets.files import TEST, TRAIN
from llmgate_platform.models import Catalog
from llmgate_platform.settings import ModelSettings, Settings
from llmgate_platform.training.jobs import Queue
from llmgate_platform.training.specs import Specs
from llmgate_platform.training.worker import Untrainable

from ..rows import JOB, add_job, add_model


def specs(store: Store, folder: Path, **more: Any) -> Specs:
    """Of a gate whose model is to be trained from `/model`, unless `more` says otherwise."""
    values = {"name": "Base", "train_from": "/model", **more}
    base = ModelSettings(base_model="base", upstream="llm", upstream_model="m", **values)
    settings = Settings(models=(base,), save_seconds=5.0, train_threads=3, max_train_tokens=99)
    return Specs(settings, Catalog(store, settings.models), Artifacts(folder))


@pytest.fixture
async def data(platform_store: Store, tmp_path: Path) -> Path:
    """The files of the job's data set, nothing of which is held out; its model is there."""
    await add_model(platform_store)
    folder = Artifacts(tmp_path).datasets / str(JOB["dataset_folder"])
    folder.mkdir(parents=True)
    (folder / TRAIN).write_text(json.dumps({"text": "t"}))
    (folder / TEST).touch()
    return folder


async def test_a_trainer_is_told_all_of_a_job(platform_store: Store, tmp_path: Path, data: Path) -> None:
    job = await add_job(Queue(platform_store))
    spec = await specs(platform_store, tmp_path).of(job)
    assert spec == {
        "epochs": 2, "learning_rate": 1e-3, "batch_size": 2, "lora_r": 4, "lora_alpha": 8, "lora_dropout": 0.0,
        "base": "/model", "dataset": str(data / TRAIN), "held_out": None, "held_out_examples": 40, "gguf": False,
        "max_tokens": 99, "save_seconds": 5.0, "threads": 3, "seed": 0,
    }  # fmt: skip


async def test_what_is_held_out_and_how_it_is_served_change_it(
    platform_store: Store, tmp_path: Path, data: Path
) -> None:
    (data / TEST).write_text(json.dumps({"text": "t"}))
    job = await add_job(Queue(platform_store))
    served = {"serve_with": "llama.cpp", "gguf": Path("/model.gguf")}
    spec = await specs(platform_store, tmp_path, **served).of(job)
    assert (spec["held_out"], spec["gguf"]) == (str(data / TEST), True)


@pytest.mark.usefixtures("data")
@pytest.mark.parametrize(
    ("job", "model", "reason"),
    [
        ({"model_id": 99}, {}, "The model that was to be trained was deleted"),
        ({}, {"name": "Other"}, "The model is not in gate.toml any more"),
        ({}, {"train_from": None}, "has no train_from there"),
        ({"dataset_folder": "gone"}, {}, "The file of the data set is not there"),
    ],
)
async def test_what_is_gone_is_told(
    platform_store: Store, tmp_path: Path, job: dict[str, Any], model: dict[str, Any], reason: str
) -> None:
    added = await add_job(Queue(platform_store), **job)
    with pytest.raises(Untrainable, match=reason):
        await specs(platform_store, tmp_path, **model).of(added)
