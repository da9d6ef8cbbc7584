"""The data sets that users see: gate.toml's, and uploads of their own."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from llmgate.errors import ConfigError

from ..gate import BOB, PLUGIN, ROWS, Caller, Document, OpenPlatform, PlatformGate


def jsonl(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


async def upload(who: Caller, content: bytes, **fields: str) -> httpx.Response:
    fields = {"name": "mine", **fields}
    files = {"file": ("any.jsonl", content)}
    return await who.http.post("/api/datasets", headers={"X-API-Key": who.key}, data=fields, files=files)


async def test_gate_tomls_are_listed_for_everybody(platform: PlatformGate) -> None:
    (dataset,) = (await platform.get("/datasets"))["datasets"]
    assert dataset["id"] == 1
    assert dataset["examples"] + dataset["held_out"] == len(ROWS)
    assert 0 < dataset["held_out"] < 20
    assert {name: dataset[name] for name in ("name", "language", "dataset_type", "license", "created_at")} == {
        "name": "Rows", "language": None, "dataset_type": "code_completion", "license": None,
        "created_at": "2027-01-15T08:00:00.000000",
    }  # fmt: skip


async def test_the_standard_library_is_data_set_1_offline(open_platform: OpenPlatform) -> None:
    """As config/platform.toml has it; the second start finds it made."""

    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["datasets"] = [{"name": "Python functions", "builtin": "python-stdlib"}]

    async with open_platform(change) as gate:
        (dataset,) = (await gate.get("/datasets"))["datasets"]
        assert dataset["examples"] > 2500
        assert (dataset["language"], dataset["license"]) == ("python", "PSF-2.0")
        folders = sorted((gate.artifacts / "datasets").iterdir())
        made = [path.stat().st_mtime_ns for path in folders]
    async with open_platform(change) as gate:
        assert [path.stat().st_mtime_ns for path in sorted((gate.artifacts / "datasets").iterdir())] == made


async def test_an_upload_is_its_owners_alone(platform: PlatformGate) -> None:
    ada, bob = await platform.register(), await platform.register(BOB)
    made = await upload(ada, jsonl(*ROWS), description="d", language="python", dataset_type="bug_fixing")
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["id"], body["name"], body["dataset_type"]) == (2, "mine", "bug_fixing")
    assert [each["id"] for each in (await ada.get("/datasets")).json()["datasets"]] == [1, 2]
    assert [each["id"] for each in (await bob.get("/datasets")).json()["datasets"]] == [1]
    assert [each["id"] for each in (await platform.get("/datasets"))["datasets"]] == [1]
    job = {"model_id": 1, "job_name": "j", "dataset_id": 2}
    assert (await bob.post("/training/coding", job)).status_code == 404
    assert (await bob.post("/models/1/evaluate", {"dataset_id": 2})).status_code == 404
    assert (await ada.post("/training/coding", job)).status_code == 201
    assert (await ada.post("/models/1/evaluate", {"dataset_id": 2, "samples": 1})).status_code == 201


async def test_a_bad_line_is_named(platform: PlatformGate) -> None:
    """And nothing is kept."""
    rows: list[Any] = [{"text": f"t{number}"} for number in range(50)]
    rows[36] = {"prompt": "p", "completion": 7}
    ada = await platform.register()
    before = sorted((platform.artifacts / "datasets").iterdir())
    answer = await upload(ada, jsonl(*rows))
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "Invalid value for file: line 37: completion is not text"},
    )
    assert sorted((platform.artifacts / "datasets").iterdir()) == before
    assert (await ada.keys())[0]["usage_count"] == 0


@pytest.mark.parametrize(
    ("content", "fields", "error"),
    [
        (b"", {}, "Invalid value for file: it has no examples"),
        (b"\n\n", {}, "Invalid value for file: it has no examples"),
        (b"\x00\xff\n", {}, "Invalid value for file: line 1: not JSON"),
        (jsonl({"text": "t"}), {"name": ""}, "Missing required field: name"),
        (jsonl({"text": "t"}), {"language": ""}, "Invalid value for language: Expected `str` of length >= 1"),
    ],
)
async def test_what_is_wrong_with_an_upload_is_told(
    platform: PlatformGate, content: bytes, fields: dict[str, str], error: str
) -> None:
    answer = await upload(await platform.register(), content, **fields)
    assert (answer.status_code, answer.json()) == (400, {"error": error})


async def test_what_is_no_form_is_told(platform: PlatformGate) -> None:
    ada = await platform.register()
    headers = {"X-API-Key": ada.key}
    no_file = await ada.http.post("/api/datasets", headers=headers, data={"name": "x"}, files={"other": b"x"})
    assert no_file.json() == {"error": "Missing required field: file"}
    for content_type in ("application/json", "multipart/form-data", "multipart/form-data; boundary=b"):
        answer = await ada.http.post(
            "/api/datasets", headers={**headers, "content-type": content_type}, content=b"no form"
        )
        assert answer.status_code == 400, (content_type, answer.text)
        problem = "send a form (multipart/form-data) with the file in it"
        assert answer.json() == {"error": f"Invalid value for file: {problem}"}, content_type
    assert (await ada.http.post("/api/datasets")).json() == {"error": "API key required"}


async def test_an_upload_that_is_too_large_is_refused(open_platform: OpenPlatform) -> None:
    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["max_upload"] = 1000

    async with open_platform(change) as gate:
        ada = await gate.register()
        answer = await upload(ada, jsonl({"text": "t" * 100_000}))
        assert (answer.status_code, answer.json()) == (
            413,
            {"error": "The file is over the limit of 1000 bytes."},
        )


async def test_small_data_sets_hold_nothing_out(platform: PlatformGate) -> None:
    ada = await platform.register()
    assert (await upload(ada, jsonl(*ROWS[:10]))).json()["held_out"] == 0
    answer = await ada.post("/models/1/evaluate", {"dataset_id": 2})
    assert answer.json() == {
        "error": "Invalid value for dataset_id: nothing of this data set is held out for evaluation"
    }


@pytest.mark.parametrize(
    ("content", "problem"),
    [(None, "No such file or directory"), (b'{"text": "t"}\n{"text": 1}\n', "line 2: text is not text")],
)
async def test_a_file_of_gate_tomls_that_is_no_data_set(
    open_platform: OpenPlatform, tmp_path: Path, content: bytes | None, problem: str
) -> None:
    file = tmp_path / "bad.jsonl"
    if content is not None:
        file.write_bytes(content)

    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["datasets"].append({"name": "Bad", "file": str(file)})

    with pytest.raises(ConfigError) as failed:
        async with open_platform(change):
            pass
    assert "plugins.llmgate_platform.datasets[1]: " in str(failed.value)
    assert problem in str(failed.value)


async def test_a_file_may_say_itself_what_is_held_out(open_platform: OpenPlatform, tmp_path: Path) -> None:
    held_out = tmp_path / "held_out.jsonl"
    held_out.write_bytes(jsonl({"prompt": "p", "completion": "c"}))

    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["datasets"][0]["held_out"] = str(held_out)

    async with open_platform(change) as gate:
        (dataset,) = (await gate.get("/datasets"))["datasets"]
        assert (dataset["examples"], dataset["held_out"]) == (60, 1)


async def test_a_data_set_of_the_hub_that_cannot_be_had_is_not_there(
    open_platform: OpenPlatform, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is."""
    from ..rows import eventually

    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["datasets"].append({"name": "Hub", "huggingface": "owner/name"})

    async def said() -> list[str]:
        return [record.getMessage() for record in caplog.records if "hub" in record.getMessage()]

    async with open_platform(change) as gate:
        (error,) = await eventually(said, bool)
        assert error.startswith("the data set owner/name cannot be loaded from the hub: ")
        assert [each["name"] for each in (await gate.get("/datasets"))["datasets"]] == ["Rows"]
