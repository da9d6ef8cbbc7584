"""The lines of a data set: what is an example, and what is wrong with what is none."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate_platform.datasets.examples import (
    MAX_LINE,
    BadExample,
    held_out,
    problem_of,
    prompt_and_reference,
    read_examples,
)

GOOD: list[dict[str, Any]] = [
    {"prompt": "p", "completion": "c"},
    {"prompt": "", "completion": "c", "more": [1]},
    {"instruction": "i", "output": "o"},
    {"instruction": "i", "input": "x", "output": "o"},
    {"instruction": "i", "input": None, "output": "o"},
    {"messages": [{"role": "system", "content": "s"}, {"role": "assistant", "content": "a"}]},
    {"text": "t"},
]


@pytest.mark.parametrize("row", GOOD)
def test_each_of_the_formats_is_taken(row: dict[str, Any]) -> None:
    assert problem_of(json.dumps(row).encode()) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "not JSON"),
        ("\xff", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "none of the known formats: prompt and completion, instruction and output, messages, or text"),
        ('{"completion": "c"}', "prompt is missing"),
        ('{"prompt": 1, "completion": "c"}', "prompt is not text"),
        ('{"prompt": "p", "completion": " \\n"}', "completion is empty"),
        ('{"instruction": "i", "output": null}', "output is not text"),
        ('{"instruction": "i", "input": [], "output": "o"}', None),
        ('{"instruction": "i", "input": [1], "output": "o"}', "input is not text"),
        ('{"text": ""}', "text is empty"),
        ('{"messages": []}', "messages is not a list with messages"),
        ('{"messages": [{"role": "user"}]}', "a message has no content that is text"),
        (
            '{"messages": [{"role": "me", "content": "c"}]}',
            "a message's role is none of system, user, assistant, tool",
        ),
        ('{"messages": [{"role": "user", "content": "c"}]}', "messages has no answer of the assistant"),
        ("x" * (MAX_LINE + 1), "longer than 1,000,000 bytes"),
    ],
)
def test_what_is_wrong_is_told(line: str, problem: str | None) -> None:
    assert problem_of(line.encode("latin-1")) == problem


def test_the_line_is_named() -> None:
    lines = [b'{"text": "a"}\n', b"\n", b"  \r\n", b"{}\n"]
    with pytest.raises(BadExample, match=r"^line 4: none of the known formats"):
        list(read_examples(lines))


def test_examples_come_without_what_editors_put_around_them() -> None:
    assert list(read_examples([b'\xef\xbb\xbf{"text": "a"}\r\n', b"\n", b'{"text": "b"}'])) == [
        b'{"text": "a"}',
        b'{"text": "b"}',
    ]


@pytest.mark.parametrize("row", GOOD)
def test_every_format_can_be_asked_and_compared(row: dict[str, Any]) -> None:
    prompt, reference = prompt_and_reference(json.dumps(row).encode())
    assert isinstance(prompt, str)
    assert reference.strip()


def test_what_is_asked_is_what_was_trained_on() -> None:
    ask = lambda **row: prompt_and_reference(json.dumps(row).encode())  # noqa: E731
    assert ask(prompt="p", completion="c") == ("p", "c")
    assert ask(instruction="a\nb", output="c") == ("# a\n# b\n", "c")
    assert ask(instruction="a", input="x", output="xy") == ("# a\nx", "y")
    assert ask(text="one two three four") == ("one two three", " four")
    chat = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    assert ask(messages=chat) == ("user: hi\nassistant:", " hello")


@given(st.binary(max_size=200))
def test_any_bytes_are_an_example_or_a_problem(line: bytes) -> None:
    problem = problem_of(line)
    if problem is None:
        assert prompt_and_reference(line)[1]


def test_a_tenth_is_held_out_by_its_own_hash() -> None:
    lines = [b'{"text": "%d"}' % number for number in range(2000)]
    assert 150 < sum(map(held_out, lines)) < 250
    assert [held_out(line) for line in lines] == [held_out(line) for line in lines]
