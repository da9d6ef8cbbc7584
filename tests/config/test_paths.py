"""URL paths that no two servers read differently, and operations."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.config.paths import PUBLIC_API, URL_PATH, Operation, parse_operation, parse_path, parse_prefix
from llmgate.config.secrets import Sources

NOWHERE = Sources(Path("gate.toml"), {})


@pytest.mark.parametrize("text", ["/", "/v1", "/v1/a.b", "/a/...", "/a;b=1"])
def test_a_plain_path_is_taken_as_it_is(text: str) -> None:
    assert parse_path(text, NOWHERE) == text


@pytest.mark.parametrize(
    "text", ["", "v1", "/v1/", "//", "/a//b", "/..", "/a/../b", "/./a", "/%61", "/a?b", "/a b", "/é"]
)
def test_what_servers_read_differently_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_path(text, NOWHERE)


@given(st.text(alphabet="/.a%", max_size=8))
def test_no_path_that_is_taken_has_a_part_that_means_another_place(text: str) -> None:
    if URL_PATH.fullmatch(text):
        assert not {".", ".."} & {*text.split("/")}
        assert "//" not in text and "%" not in text


def test_a_prefix_may_be_nothing_and_not_the_root() -> None:
    assert parse_prefix("", NOWHERE) == ""
    with pytest.raises(ValueError, match="adds nothing"):
        parse_prefix("/", NOWHERE)


@pytest.mark.parametrize(
    ("text", "operation"),
    [
        ("*", Operation("*", "*")),
        ("POST /chat/completions", Operation("POST", "/chat/completions")),
        ("GET /models/{id:path}", Operation("GET", "/models/{id:path}")),
    ],
)
def test_an_operation_reads_as_it_is_written(text: str, operation: Operation) -> None:
    assert parse_operation(text, NOWHERE) == operation
    assert str(operation) == text


@pytest.mark.parametrize(
    "text", ["", "GET", "GET ", "get /a", "GET a", "GET /{id:path}/b", "GET /a/", "* /a"]
)
def test_what_is_no_operation_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_operation(text, NOWHERE)


def test_stored_responses_are_not_open_by_default() -> None:
    """A backend shows anybody's to everybody: it knows one caller, the gate."""
    assert not any(each.path.startswith("/responses/") for each in PUBLIC_API)
    assert Operation("POST", "/responses") in PUBLIC_API
