"""What of a request is not text, read as the most liberal backend would."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.backends.json_body import read_fields
from llmgate.backends.opaque import Opaque, opaque_input

PICTURE = "data:image/png;base64," + "A" * 5000


def opaque(**fields: object) -> Opaque:
    return opaque_input(read_fields(json.dumps(fields).encode()))


def says(content: object, **more: object) -> list[object]:
    return [{"role": "user", "content": content, **more}]


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": says([{"image_url": {"url": PICTURE}}])},
        {"messages": says([{"type": "text", "text": "?", "image_url": {"url": PICTURE}}])},
        {"messages": says([{"text": "?", "image_url": PICTURE}])},
        {"messages": says({"type": "image_url", "image_url": {"url": PICTURE}})},
        {"messages": says([["text", {"image_url": PICTURE}]])},
        {"messages": says("?", images=[PICTURE])},
        {"messages": says("?", image_url=PICTURE)},
        {"messages": says([{"type": ["text"], "text": "?"}])},
        {"messages": says([{"type": "tool_result", "content": [{"type": "image", "source": {}}]}])},
        {"messages": says([{"type": "text", "text": "?", "input": PICTURE}])},
        {"input": [{"type": "function_call_output", "output": [{"type": "input_image"}]}]},
        {"prompt": {"prompt_string": "<__media__>", "multimodal_data": [PICTURE]}},
        {"prompt": ["text", {"prompt_string": "?", "multimodal_data": [PICTURE]}]},
        {"prompt": {"id": "pmpt_1"}},
        {"messages": [], "tools": [{"type": "web_search"}]},
        {"messages": [], "image_data": [{"data": PICTURE, "id": 1}]},
        {"messages": [], "conversation": "conv_1"},
        {"messages": [], "tools": [{"google_search": {}}]},
        {"messages": [], "extra_body": {"google": {"cached_content": "cachedContents/1"}}},
    ],
)
def test_a_part_is_text_only_if_all_its_members_are(fields: dict[str, object]) -> None:
    """Types that lie or are not there, members beside a text, lists within lists, objects for prompts."""
    assert opaque(**fields).parts >= 1


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": says("a picture: " + PICTURE)},
        {"messages": says([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}])},
        {"messages": says(None, tool_calls=[{"id": "1", "function": {"name": "f", "arguments": "{}"}}])},
        {"messages": says("a", name="ann", reasoning_content="hm", refusal=None, audio=None)},
        {"messages": says([{"type": "tool_use", "id": "1", "name": "f", "input": {"url": "u", "a": [1]}}])},
        {"messages": says([{"type": "redacted_thinking", "data": "A" * 999}])},
        {"messages": [], "tools": [{"type": "function", "function": {}}, {"name": "f", "input_schema": {}}]},
        {"messages": [], "conversation": None, "images": []},
        {"input": [[1, 2], [3]]},
        {"prompt": [1, 2, "and text"]},
        {"query": "a", "documents": [{"text": "b", "title": "c"}]},
    ],
)
def test_text_is_not_taken_for_more(fields: dict[str, object]) -> None:
    """Tools, thoughts, token ids, and text that looks like a picture."""
    assert opaque(**fields) == Opaque(0, 0)


def test_the_bytes_of_what_is_encoded_are_told_apart_from_text() -> None:
    """An image's base64 bounds nothing; the text in a document does."""
    picture = {"type": "image_url", "image_url": {"url": PICTURE}}
    sound = {"type": "input_audio", "input_audio": {"data": "B" * 4000, "format": "wav"}}
    document = {"type": "document", "source": {"type": "text", "data": "word " * 100}}
    assert opaque(messages=says([picture, sound, document])) == Opaque(3, len(PICTURE) + 4000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "text", "content", "image_url", "role", "output"]), children, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["messages", "input", "prompt", "tools", "documents"]), JSON))
def test_no_shape_breaks_it(fields: dict[str, object]) -> None:
    """Whatever clients send: a count."""
    found = opaque(**fields)
    assert found.bytes >= 0
    assert found.parts >= 0


@given(st.lists(JSON, max_size=3), st.lists(JSON, max_size=3), JSON.filter(lambda value: value is not None))
def test_a_picture_is_found_in_any_company(
    before: list[object], after: list[object], picture: object
) -> None:
    """Next to whatever else a message has, without a type and with any value."""
    assert opaque(messages=says([*before, {"image_url": picture}, *after])).parts >= 1
    assert opaque(messages=[*before, {"content": "?", "image_url": picture}, *after]).parts >= 1


@pytest.mark.parametrize("space", [b"", b" "])
def test_a_member_given_twice_hides_no_picture(space: bytes) -> None:
    """Readers of the first one see the picture, though the last one is a text."""
    picture = json.dumps([{"image_url": {"url": PICTURE}}]).encode()
    twice = b'{"messages":[{"role":"user","content":%b,"content":%b"hello"}]}' % (picture, space)
    assert opaque_input(read_fields(twice)).parts >= 1
    nested = b'{"messages":[{"content":[{"type":"text","text":"a","type":%b"text"}]}]}' % space
    assert opaque_input(read_fields(nested)).parts == 1
    good = (
        b'{"messages":[{"content":[{"type":"text","text":%b"a \\u00e9 \\/"},{"type":"text","text":"b"}]}]}'
        % space
    )
    assert opaque_input(read_fields(good)) == Opaque(0, 0)
