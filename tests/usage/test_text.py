"""Generated text is found wherever an API puts it, in whatever shape."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from llmgate.usage.report import members_of
from llmgate.usage.text import (
    Choice,
    body_text_bytes,
    choices_of,
    delta_bytes,
    fragment_text_bytes,
    has_choice,
)


def members(**fields: object) -> dict[str, Raw]:
    return members_of(json.dumps(fields).encode()) or {}


@pytest.mark.parametrize(
    ("choice", "size"),
    [
        ({"text": "hällo"}, 6),
        ({"delta": {"content": "1234", "reasoning_content": "56"}}, 6),
        ({"delta": {"content": [{"type": "text", "text": "123456"}]}}, 6),
        ({"delta": {"content": None, "refusal": "no"}}, 2),
        ({"message": {"tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}}, 3),
        ({"message": {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}]}}, 8),
        ({"delta": {"content": "1234", "tool_calls": 5}}, 4),
        ({"index": None, "finish_reason": 7, "text": "1234"}, 4),
        ({"delta": {"reasoning_details": [{"type": "reasoning.text", "text": "12"}]}, "index": "0"}, 2),
        ({"delta": {}}, 0),
        (
            {
                "delta": {"role": "assistant", "content": "", "annotations": []},
                "content_filter_results": {"a": 1},
            },
            0,
        ),
        ({"delta": {"thought": "hm"}}, 4),  # who knows how its vendor calls it: a token
        ({"delta": {"images": [{"image_url": {"url": "data:image/png;base64," + "A" * 5_098}}]}}, 20),
        ({"delta": {"audio": {"id": "a", "data": "A" * 5_120, "transcript": "1234"}}}, 24),
        ({"delta": {"reasoning_details": [{"type": "reasoning.encrypted", "data": "A" * 80}]}}, 4),
        ({"delta": {"tool_calls": [{"index": 0, "custom": {"name": "f", "input": "{}"}}]}}, 3),
    ],
)
def test_a_choice_of_any_shape(choice: object, size: int) -> None:
    """Thoughts, refusals, parts, tools whose arguments are objects, and one odd member among good ones."""
    assert [found.text_bytes for found in choices_of(members(choices=[choice]))] == [size]


def test_what_is_no_list_of_choices_has_none() -> None:
    for odd in (None, 5, {}, "text", [None], [[]]):
        assert choices_of(members(choices=odd)) == []
    assert choices_of({}) == []
    assert choices_of(members(choices=[{"index": 3, "finish_reason": "stop"}])) == [Choice(3, "stop", 0)]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [(b"null", False), (b"[]", False), (b"[ \n]", False), (b"[{}]", True), (b"{}", True), (b"5", True)],
)
def test_whether_a_chunk_has_a_choice(raw: bytes, expected: bool) -> None:
    """However none is written (case usage-event-with-null-choices)."""
    assert has_choice({"choices": Raw(raw)}) is expected
    assert has_choice({}) is False


@pytest.mark.parametrize(
    ("delta", "size"),
    [
        ("1234", 4),
        ({"type": "text_delta", "text": "1234"}, 4),
        ({"type": "input_json_delta", "partial_json": '{"a'}, 3),
        ({"type": "thinking_delta", "thinking": "hm"}, 2),
        ({"text": "12", "content": ["34"]}, 4),
        (None, 0),
        (5, 0),
    ],
)
def test_a_delta_of_the_typed_apis(delta: object, size: int) -> None:
    assert delta_bytes(Raw(json.dumps(delta).encode())) == size


def test_a_response_of_any_items() -> None:
    """Messages, calls and thoughts of the responses API, parts of a message of Anthropic's."""
    output = [
        {"type": "reasoning", "summary": [{"text": "12"}]},
        {"type": "message", "content": [{"type": "output_text", "text": "34"}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
    ]
    assert body_text_bytes(members(output=output)) == 7
    content = [{"type": "text", "text": "12"}, {"type": "tool_use", "name": "f", "input": {"a": 1}}]
    assert body_text_bytes(members(content=content)) == 10


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["content", "text", "delta", "message", "tool_calls", "function", "arguments", "x"]
            ),
            children,
            max_size=4,
        )
    ),
    max_leaves=10,
)


@given(JSON, JSON)
def test_no_shape_breaks_it(one: object, other: object) -> None:
    body = members(choices=one, output=other, content=other, text=one)
    assert 0 <= body_text_bytes(body) <= 4 * len(json.dumps([one, other] * 3))
    assert delta_bytes(Raw(json.dumps(one).encode())) >= 0


def test_text_in_a_piece_of_an_answer() -> None:
    """As far as it goes; names, ids and the JSON around it are no text."""
    body = json.dumps(
        {"id": "x" * 99, "choices": [{"message": {"role": "assistant", "content": 'a "b" c'}}]}
    ).encode()
    assert fragment_text_bytes(body) == len(r"a \"b\" c")
    assert fragment_text_bytes(body[: body.index(b" c")]) == len(r"a \"b\"")
    assert fragment_text_bytes(body[:40]) == 0
    assert fragment_text_bytes(b'{"text" : "' + b"\\" * 50_001) <= 50_001
