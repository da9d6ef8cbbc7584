"""What the operator decides, and what of it does not go together."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmgate_platform.settings import DatasetSettings, ModelSettings, Settings

from .gate import PLUGIN, Document, OpenPlatform, refusal

MODEL = ModelSettings(name="Base", base_model="b", upstream="llm", upstream_model="m")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda own, doc: own["models"][0].update(serve_with="llama.cpp"), "needs gguf, the file that its server"),
        (lambda own, doc: own["models"].append(own["models"][0]), "models: two have the same name"),
        (lambda own, doc: own["datasets"].append({"name": "both"}), "both: write one of file, builtin and huggingface"),
        (lambda own, doc: own.update(evaluation="none"), 'evaluation: no data set "none"'),
    ],
)  # fmt: skip
async def test_what_does_not_fit_keeps_the_gate_from_starting(
    open_platform: OpenPlatform, change: Callable[[Document, Document], object], problem: str
) -> None:
    told = await refusal(open_platform, change)
    assert problem in told
    assert f"plugins.{PLUGIN}" in told


@pytest.mark.parametrize(
    ("more", "served_by", "gguf"),
    [
        ({}, None, None),
        ({"train_from": "/model"}, "vllm", None),
        ({"train_from": "/m.gguf", "serve_with": "llama.cpp"}, "llama.cpp", Path("/m.gguf")),
        (
            {"train_from": "/m", "serve_with": "llama.cpp", "gguf": Path("/o.gguf")},
            "llama.cpp",
            Path("/o.gguf"),
        ),
    ],
)
def test_what_serves_adapters(more: dict[str, Any], served_by: str | None, gguf: Path | None) -> None:
    model = ModelSettings(name="Base", base_model="b", upstream="llm", upstream_model="m", **more)
    assert (model.served_by, model.gguf_file) == (served_by, gguf)


def test_held_out_examples_go_with_a_file() -> None:
    with pytest.raises(ValueError, match="D: held_out goes with file"):
        DatasetSettings(name="D", builtin="python-stdlib", held_out=Path("t.jsonl"))


def test_a_key_gets_no_more_by_default_than_it_may_have() -> None:
    with pytest.raises(ValueError, match="rate_limit is over max_rate_limit"):
        Settings(models=(MODEL,), rate_limit=11, max_rate_limit=10)


@pytest.mark.parametrize(
    ("public", "more", "keys"),
    [
        (False, {}, []),
        (True, {}, ["registration", "public_lists"]),
        (True, {"registration": "closed"}, ["public_lists"]),
        (True, {"registration": "closed", "public_lists": False}, []),
    ],
)
def test_what_is_good_for_trying_is_told_where_strangers_come(
    public: bool, more: dict[str, Any], keys: list[str]
) -> None:
    settings = Settings(models=(MODEL,), **more)
    assert [key for key, _ in settings.warnings(public)] == keys
