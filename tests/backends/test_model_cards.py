"""Lists of models, as servers send them."""

import pytest

from llmgate.backends.model_cards import cards_of


def test_cards_are_as_the_server_has_them() -> None:
    body = b'{"object":"list","data":[{"id":"a","max_model_len":9},{"id":"b"}]}'
    assert cards_of(body) == [{"id": "a", "max_model_len": 9}, {"id": "b"}]


@pytest.mark.parametrize("body", [b'{"object":"list"}', b'{"data":null}', b'{"data":[]}'])
def test_a_list_may_be_empty(body: bytes) -> None:
    """An Ollama without models sends null."""
    assert cards_of(body) == []


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"data":{}}', b'{"data":[1]}', b'{"data":[{}]}', b'{"data":[{"id":1}]}',
     b'{"data":[{"id":"\xff"}]}'],
)  # fmt: skip
def test_anything_else_is_none(body: bytes) -> None:
    with pytest.raises(ValueError, match="no list of models"):
        cards_of(body)


def test_a_body_nested_without_end_is_no_list() -> None:
    with pytest.raises(ValueError, match="no list of models"):
        cards_of(b'{"data":[{"id":"a","x":' + b"[" * 100_000)
