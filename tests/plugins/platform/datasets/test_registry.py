"""The data sets that users see: gate.toml's, and uploads of their own."""

from pathlib import Path

import pytest

from llmgate.errors import ConfigError

from ..gate import PLUGIN, ROWS, Document, OpenPlatform, PlatformGate, jsonl, upload


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
