"""Where each key of a gate.toml stands, held against what tomllib finds in it."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.config.lines import line_of, lines_of
from llmgate.config.messages import join

ROOT = Path(__file__).parents[2]
FILES = [ROOT / "gate.toml", Path(__file__).with_name("full.toml"), *(ROOT / "config").glob("*.toml")]

TEXT = '''# a comment
[gate]
listen = [
    "127.0.0.1:8000",  # one
    "[::1]:8000",
]
access_log = false

[upstreams.vllm]
urls = ["http://a"]
models = { small = "x/y", "gpt-4.1" = 'z' }
health.interval = 5.0

[prices."gpt-4.1"]
input = 1

[[routes]]
path = "/v1"
[[routes]]
path = """
/v2 = [
"""
'''


def places(value: Any, place: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield join(place, key)
            yield from places(inner, join(place, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield f"{place}[{index}]"
            yield from places(inner, f"{place}[{index}]")


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("gate", 2),
        ("gate.listen", 3),
        ("gate.listen[1]", 5),
        ("gate.access_log", 7),
        ('upstreams.vllm.models."gpt-4.1"', 11),
        ("upstreams.vllm.health.interval", 12),
        ('prices."gpt-4.1".input', 15),
        ("routes[0].path", 18),
        ("routes[1]", 19),
        ("routes[1].path", 20),
    ],
)
def test_each_place_has_its_line(place: str, line: int) -> None:
    assert lines_of(TEXT)[place] == line


@pytest.mark.parametrize(
    ("place", "line"),
    [
        ("routes[1].upstream", 19),
        ('prices."gpt-4.1".output', 14),
        ("upstreams.vllm.health.interval.x", 12),
        ("sessions.lifetime", None),
        ("", None),
    ],
)
def test_what_is_missing_is_looked_for_where_it_would_stand(place: str, line: int | None) -> None:
    assert line_of(place, lines_of(TEXT)) == line


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_place_of_our_own_files_is_found_and_no_other(file: Path) -> None:
    text = file.read_text()
    assert set(lines_of(text)) >= set(places(tomllib.loads(text)))


KEYS = st.sampled_from(["a", "b-1", '"c.d"', "'e f'", '"g\\u0041"', '"#"'])
VALUES = st.recursive(
    st.sampled_from(
        ["1", "-1.5e3", "true", '"x # ] }"', "'y\\'", '"""z\n"" [ = """', "'''w\n'''", "1979-05-27 07:32:00"]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ",\n # no ]\n".join(items) + "\n]"),
        st.lists(inner, max_size=2).map(
            lambda items: "{ " + ", ".join(f"k{n} = {item}" for n, item in enumerate(items)) + " }"
        ),
    ),
    max_leaves=6,
)
PAIRS = st.tuples(KEYS, VALUES).map(lambda pair: f"{pair[0]} = {pair[1]}")
HEADERS = st.tuples(st.sampled_from(["[{}]", "[[{}]]", "[ {} . x ]"]), KEYS).map(
    lambda pair: pair[0].format(pair[1])
)


@given(st.lists(st.one_of(PAIRS, HEADERS, st.just('# [no] = "header"')), max_size=8).map("\n".join))
def test_whatever_tomllib_reads_is_found(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert set(lines_of(text)) >= set(places(document))
