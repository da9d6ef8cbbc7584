"""Training jobs as users see them, without a worker: what is asked for, and who may ask."""

from typing import Any

import pytest
from stores import Clock

from ..gate import BOB, CODING, PLUGIN, Document, OpenPlatform, PlatformGate, finish, queue_of


async def test_a_coding_job_is_made_as_the_guide_shows(platform: PlatformGate) -> None:
    ada = await platform.register()
    made = await ada.post(
        "/training/coding", {**CODING, "epochs": 5, "learning_rate": 0.00005, "batch_size": 4}
    )
    assert made.status_code == 201
    assert made.json() == {
        "id": 1,
        "job_name": "Python Code Training",
        "model_id": 1,
        "dataset_id": 1,
        "training_type": "coding",
        "status": "PENDING",
        "message": "Coding training job created and started successfully",
    }
    listed = (await platform.get("/training"))["training_jobs"]
    assert listed == [
        {
            "id": 1, "model_id": 1, "job_name": "Python Code Training", "status": "PENDING", "progress": 0.0,
            "epochs": 5, "current_epoch": 0, "learning_rate": 0.00005, "batch_size": 4,
            "created_at": "2027-01-15T08:00:00.000000", "started_at": None, "completed_at": None,
        }
    ]  # fmt: skip
    job = await platform.get("/training/1")
    assert {name: job[name] for name in ("lora_r", "lora_alpha", "lora_dropout", "current_loss", "error")} == {
        "lora_r": 16, "lora_alpha": 32, "lora_dropout": 0.1, "current_loss": None, "error": None,
    }  # fmt: skip
    assert (await platform.get("/training/1/progress")) == {
        "progress": 0.0, "status": "PENDING", "current_epoch": 0, "current_loss": None, "logs": job["logs"],
    }  # fmt: skip


async def test_any_training_has_defaults_of_its_own(platform: PlatformGate) -> None:
    ada = await platform.register()
    made = await ada.post("/training", {"model_id": 1, "job_name": "j"})
    assert made.json() == {
        "id": 1, "job_name": "j", "model_id": 1, "status": "PENDING",
        "message": "Training job created and started successfully",
    }  # fmt: skip
    job = await platform.get("/training/1")
    names = ("epochs", "learning_rate", "batch_size", "lora_r", "lora_alpha", "lora_dropout", "dataset_id")
    assert [job[name] for name in names] == [3, 1e-4, 8, 8, 32, 0.05, 1]
    assert job["training_type"] == "general"


async def test_without_a_worker_a_job_says_what_is_missing(platform: PlatformGate, clock: Clock) -> None:
    ada = await platform.register()
    await ada.post("/training/coding", CODING)
    assert "none is running. An operator starts one" in (await platform.get("/training/1"))["logs"]
    await queue_of(platform).heartbeat("w", "torch is not installed.")
    assert "torch is not installed" in (await platform.get("/training/1/progress"))["logs"]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"model_id": None}, "Invalid value for model_id: expected int, got null"),
        ({"model_id": "1"}, "Invalid value for model_id: expected int, got str"),
        ({"epochs": 0}, "Invalid value for epochs: expected int >= 1"),
        ({"epochs": 101}, "Invalid value for epochs: expected int <= 100"),
        ({"learning_rate": 0}, "Invalid value for learning_rate: expected float > 0.0"),
        ({"learning_rate": 1.5}, "Invalid value for learning_rate: expected float <= 1.0"),
        ({"batch_size": 257}, "Invalid value for batch_size: expected int <= 256"),
        ({"lora_r": 65}, "Invalid value for lora_r: at most 64"),
        ({"lora_dropout": 1}, "Invalid value for lora_dropout: expected float < 1.0"),
        ({"job_name": ""}, "Invalid value for job_name: expected str of length >= 1"),
        ({"job_name": "a\nb"}, "Invalid value for job_name: expected printable characters"),
        ({"job_name": "n" * 129}, "Invalid value for job_name: expected str of length <= 128"),
    ],
)
async def test_what_is_wrong_is_told(platform: PlatformGate, changes: dict[str, Any], error: str) -> None:
    ada = await platform.register()
    answer = await ada.post("/training/coding", {**CODING, **changes})
    assert (answer.status_code, answer.json()) == (400, {"error": error})


@pytest.mark.parametrize("missing", ["model_id", "job_name", "dataset_id"])
async def test_the_first_missing_field_is_named(platform: PlatformGate, missing: str) -> None:
    ada = await platform.register()
    body = {name: value for name, value in CODING.items() if name != missing}
    answer = await ada.post("/training/coding", body)
    assert answer.json() == {"error": f"Missing required field: {missing}"}
    assert (await ada.post("/training/coding", {"epochs": 1})).json() == {
        "error": "Missing required field: model_id"
    }


async def test_models_and_data_sets_that_are_not_there(platform: PlatformGate) -> None:
    ada = await platform.register()
    for changes in ({"model_id": 99}, {"dataset_id": 99}):
        answer = await ada.post("/training/coding", {**CODING, **changes})
        assert (answer.status_code, answer.json()) == (404, {"error": "Resource not found"})
    for path in ("/training/99", "/training/abc", "/training/99/progress"):
        answer = await platform.http.get(f"/api{path}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Resource not found"})


async def test_a_model_without_train_from_cannot_be_trained(open_platform: OpenPlatform) -> None:
    def change(document: Document) -> None:
        del document["plugins"][PLUGIN]["models"][0]["train_from"]

    async with open_platform(change) as gate:
        answer = await (await gate.register()).post("/training/coding", CODING)
        assert answer.json() == {"error": "Invalid value for model_id: this model cannot be trained"}


async def test_a_user_has_so_many_unfinished_jobs(open_platform: OpenPlatform) -> None:
    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["max_waiting"] = 2

    async with open_platform(change) as gate:
        ada = await gate.register()
        statuses = [(await ada.post("/training/coding", CODING)).status_code for _ in range(3)]
        assert statuses == [201, 201, 400]
        assert (await ada.post("/training/coding", CODING)).json() == {"error": "Too many training jobs"}
        assert (await ada.post("/training/1/cancel")).status_code == 200
        assert (await ada.post("/training/coding", CODING)).status_code == 201


async def test_a_job_is_paused_resumed_and_cancelled(platform: PlatformGate) -> None:
    ada, queue = await platform.register(), queue_of(platform)
    await ada.post("/training/coding", CODING)
    early = await ada.post("/training/1/pause")
    assert (early.status_code, early.json()) == (400, {"error": "Job is not running"})
    assert await queue.take("test") is not None
    paused = await ada.post("/training/1/pause")
    assert paused.json() == {"id": 1, "status": "PAUSED", "message": "Training job paused successfully"}
    assert (await platform.get("/training/1"))["status"] == "PAUSED"
    assert (await ada.post("/training/1/pause")).json() == {"error": "Job is not running"}
    resumed = await ada.post("/training/1/resume")
    assert resumed.json() == {"id": 1, "status": "PENDING", "message": "Training job resumed successfully"}
    assert (await ada.post("/training/1/resume")).json() == {"error": "Job is not paused"}
    cancelled = await ada.post("/training/1/cancel")
    assert cancelled.json() == {"id": 1, "status": "FAILED", "message": "Training job cancelled successfully"}
    assert (await ada.post("/training/1/cancel")).json() == {"error": "Job is finished"}


async def test_jobs_of_others_are_seen_and_not_touched(platform: PlatformGate) -> None:
    ada, bob = await platform.register(), await platform.register(BOB)
    await ada.post("/training/coding", CODING)
    assert (await queue_of(platform).take("test")) is not None
    for verb in ("pause", "resume", "cancel"):
        answer = await bob.post(f"/training/1/{verb}")
        assert (answer.status_code, answer.json()) == (404, {"error": "Resource not found"})
    assert (await platform.http.post("/api/training/1/pause")).status_code == 401
    assert (await platform.get("/training/1"))["status"] == "RUNNING"


async def test_a_finished_job_makes_a_model_of_its_owners(platform: PlatformGate) -> None:
    """Everybody sees it in the list; it answers for its owner alone. The one it was made from stays as it was."""
    ada, bob = await platform.register(), await platform.register(BOB)
    await ada.post("/training/coding", CODING)
    before = await platform.get("/models/1")
    model_id = await finish(platform)
    assert await platform.get("/models/1") == before
    made = await platform.get(f"/models/{model_id}")
    assert (made["name"], made["base_model"], made["status"]) == (
        "Python Code Training", "HuggingFaceTB/SmolLM2-135M", "AVAILABLE",
    )  # fmt: skip
    job = await platform.get("/training/1")
    assert (job["status"], job["result_model_id"], job["progress"]) == ("COMPLETED", model_id, 100.0)
    assert (await bob.generate(model_id)).status_code == 404
    assert (await ada.post("/training", {"model_id": model_id, "job_name": "again"})).status_code == 400
