"""A list of prompts is a batch, whatever they are; a list of tokens is one prompt."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from llmgate.backends.endpoint import Endpoint
from llmgate.backends.prompts import read_completion, read_prompts, read_sequences
from llmgate.errors import BadRequest

ITEMS = (
    st.integers(0, 9)
    | st.text(max_size=3)
    | st.lists(st.integers(0, 9), max_size=3)
    | st.just({"prompt_string": "a"})
)


def read(prompt: object) -> tuple[int, tuple[int, ...]]:
    found = read_prompts(Raw(json.dumps(prompt).encode()))
    return len(found.sizes), found.tokens


@pytest.mark.parametrize(
    ("prompt", "prompts", "tokens"),
    [
        ("a", 1, ()),
        (None, 1, ()),
        ([], 1, ()),
        ([1, 2, 3], 1, ()),
        ([1, "a", 2], 1, ()),
        (["a", 2], 1, ()),
        ([-1], 1, ()),
        (["a", "b"], 2, ()),
        ([[1, 2], [3]], 2, (2, 1)),
        ([[1, "a"], [3]], 2, ()),
        ([{"prompt_string": "a"}, {"prompt_string": "b"}], 2, ()),
        (["a", [1, 2], {"prompt_string": "b"}], 3, ()),
        ([None, "a"], 2, ()),
    ],
)
def test_how_many_there_are(prompt: object, prompts: int, tokens: tuple[int, ...]) -> None:
    """Objects are llama.cpp's, tokens with texts among them, too; how long a prompt of ids is stands in it."""
    assert read(prompt) == (prompts, tokens)


def test_tokens_and_prompts_in_one_list_are_refused() -> None:
    """Nobody knows what a backend makes of it."""
    for prompt in ([1, [2]], [1, {"prompt_string": "a"}]):
        with pytest.raises(BadRequest, match=r"^body\.prompt: expected tokens, or a list of prompts"):
            read(prompt)


def test_no_prompt_is_one() -> None:
    """What the backend makes of it is its own answer."""
    assert read_prompts(None) == ((0,), ())


@given(st.lists(ITEMS, max_size=5))
def test_no_backend_makes_more_of_it(prompt: list[object]) -> None:
    """A batch counts all its items, unless a token is among them."""
    has_tokens = any(isinstance(item, int) for item in prompt)
    try:
        prompts, tokens = read(prompt)
    except BadRequest:
        assert has_tokens
        return
    assert prompts == (len(prompt) if prompt and not has_tokens else 1)
    assert len(tokens) in (0, prompts)


def sequences(endpoint: Endpoint, **fields: object) -> tuple[int, int]:
    return read_sequences(endpoint, {name: Raw(json.dumps(value).encode()) for name, value in fields.items()})


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("a", 1),
        ([], 1),
        (["a", "b", "c"], 3),
        ([1, 2, 3], 1),
        ([[1, 2], [3]], 2),
        ([{"text": "a"}, "b"], 2),
        (None, 1),
    ],
)
def test_each_text_of_a_list_is_read_by_itself(given: object, number: int) -> None:
    """Whatever a server calls it: llama.cpp's reads `content`, too."""
    assert sequences(Endpoint.EMBEDDINGS, input=given) == (number, 0)
    assert sequences(Endpoint.EMBEDDINGS, content=given, model="a") == (number, 0)


@pytest.mark.parametrize(
    ("fields", "number", "repeated"),
    [
        ({"query": "12", "documents": ["a", "b", "c"]}, 3, 2 * 4),
        ({"text_1": ["12"], "text_2": ["a", "b", "c"]}, 3, 2 * 6),
        ({"text_1": ["a", "b"], "text_2": ["c", "d"]}, 2, 0),
        ({"queries": ["a", "b"], "documents": ["c", "d", "e"]}, 6, 2 * 10 + 15),
        ({"query": "a", "documents": ["b"]}, 1, 0),
        ({"query": "a"}, 1, 0),
    ],
)
def test_a_query_is_read_with_each_document(fields: dict[str, object], number: int, repeated: int) -> None:
    """Ten kB of query and a thousand documents of a letter are ten million bytes."""
    assert sequences(Endpoint.RERANK, **fields) == (number, repeated)


@given(
    st.dictionaries(
        st.sampled_from(["query", "documents", "input", "text_1", "text_2"]), ITEMS | st.lists(ITEMS)
    )
)
def test_no_lists_are_read_less_often_than_they_are_written(fields: dict[str, object]) -> None:
    for endpoint in (Endpoint.RERANK, Endpoint.EMBEDDINGS):
        number, repeated = sequences(endpoint, **fields)
        assert number >= 1
        assert repeated >= 0


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"prompt_embeds": ["AAAA", "BBBB"]}, 2),
        ({"prompt": None, "prompt_embeds": "AAAA"}, 1),
        ({"prompt": "a", "prompt_embeds": ["AAAA", "BBBB"]}, 3),
        ({"prompt": ["a", "b"], "prompt_embeds": None}, 2),
        ({"prompt": [], "prompt_embeds": []}, 1),
        ({}, 1),
    ],
)
def test_a_vector_is_a_prompt_as_well(fields: dict[str, object], number: int) -> None:
    """vLLM generates for each of them."""
    raw = {name: Raw(json.dumps(value).encode()) for name, value in fields.items()}
    assert len(read_completion(raw).sizes) == number
