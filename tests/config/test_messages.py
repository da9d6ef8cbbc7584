"""How problems are put into words."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.config import messages as words


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (1.5, "1.5"),
        (2**63 - 1, "9223372036854775807"),
        (16**999, "an integer of 3997 bits"),
        ("vlm", '"vlm"'),
        ("a\n\x1b[31mb", '"a\\n\\u001b[31mb"'),
        ("\u202egnissem", '"\\u202egnissem"'),
        ("a\x7fb\U000e0041", '"a\\u007fb\\U000e0041"'),
        ("été", '"été"'),
        ("x" * 61, f'"{"x" * 60}…"'),
        ("http://me:geheim@host/", '"http://***@host/"'),
        ([1], "an array"),
        ({"a": 1}, "a table"),
        (dt.time(1), "a date or time"),
    ],
)
def test_a_value_is_shown_short_and_harmless(value: object, shown: str) -> None:
    """Nothing found in a file can forge a line, move the cursor, flood the screen or show a password."""
    assert words.found(value) == shown


@given(st.text())
def test_a_quoted_text_is_one_printable_line(text: str) -> None:
    """Whatever the text."""
    assert words.quoted(text).isprintable()


@pytest.mark.parametrize(
    ("place", "key", "joined"),
    [
        ("", "gate", "gate"),
        ("routes[2]", "upstream", "routes[2].upstream"),
        ("prices", "gpt-4.1", 'prices."gpt-4.1"'),
        ("prices", "", 'prices.""'),
    ],
)
def test_a_place_is_written_as_toml_writes_keys(place: str, key: str, joined: str) -> None:
    """Keys that are not bare are quoted."""
    assert words.join(place, key) == joined


def test_an_unknown_key_comes_with_a_guess_or_the_list() -> None:
    """The nearest known key if one is near, all of them otherwise."""
    assert words.unknown_key("wrokers", ["workers", "listen"]) == 'unknown key (did you mean "workers"?)'
    assert words.unknown_key("zzz", ["workers", "listen"]) == "unknown key (known: workers, listen)"


def test_a_dangling_name_comes_with_the_known_ones() -> None:
    """In the order in which they were declared."""
    assert words.dangling("upstream", "vlm", ["vllm", "openai"]) == 'no upstream "vlm" (known: vllm, openai)'
    assert words.dangling("price of", "m", ["a\nb"]) == 'no price of "m" (known: "a\\nb")'
    assert words.dangling("upstream", "vlm", []) == 'no upstream "vlm" (known: none)'


def test_long_numbers_are_grouped() -> None:
    """As TOML allows; a whole float that is long loses its point."""
    assert [words.number(value) for value in (5, 16_777_216, 1.5, 1e12)] == [
        "5",
        "16_777_216",
        "1.5",
        "1_000_000_000_000",
    ]
