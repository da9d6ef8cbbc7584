"""Data sets of users' own: whose they are, and what is wrong with a form."""

from typing import Any

import pytest

from ..gate import BOB, PLUGIN, ROWS, Document, OpenPlatform, PlatformGate, jsonl, upload


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
