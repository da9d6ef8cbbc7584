"""The requests are those of the captures, and say what they mean for any model."""

from pathlib import Path

import msgspec
import pytest

from llmgate.tools.conformance import CASES, Case
from llmgate.tools.conformance.cases import MODEL

CAPTURES = Path(__file__).parents[2] / "data" / "captures" / "llama_server"
NOT_ONE_REQUEST = {"disconnect", "chat_stream_http10"}
"""One tells of a client that leaves, one is in HTTP/1.0, which the gate's own client does not speak."""


def test_there_is_a_request_for_every_capture_and_no_other() -> None:
    """Whoever adds a capture of a new kind adds its request; `emb_` were taken of another model."""
    captured = {file.stem for file in CAPTURES.glob("*.txt") if not file.stem.startswith("emb_")}
    names = [case.name for case in CASES]
    assert sorted(names) == sorted(captured - NOT_ONE_REQUEST)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_model_is_put_in_as_json(case: Case) -> None:
    """Names of models have slashes, quotes and letters outside of ASCII."""
    name = 'a/"b"\N{GREEK SMALL LETTER ALPHA}'
    content = case.content(name)
    assert MODEL.encode() not in content
    if MODEL.encode() in case.body and case.own is None:
        text = content.removeprefix(b"\xef\xbb\xbf")
        assert msgspec.json.decode(text)["model"] == name


def test_the_model_is_put_into_the_path() -> None:
    """Of the one request that names it there."""
    [case] = [case for case in CASES if case.name == "model_retrieve"]
    assert case.target("tiny") == b"/v1/models/tiny"
