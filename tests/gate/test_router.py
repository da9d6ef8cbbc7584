"""Which entry of an address's table takes a request."""

import pytest
from playbook import Answers

from llmgate.errors import ConfigError, MethodNotAllowed, NotFound
from llmgate.gate.router import ANY, Entry, Table


def entry(method: str, path: str, route: str = "r", owner: str = "routes[0]") -> Entry:
    return Entry(method, path, Answers(), route, owner)


def route_of(table: Table, method: str, path: str) -> str:
    return table.find(method, path)[0].route


TABLE = Table(
    [
        entry("POST", "/v1/chat/completions", "chat"),
        entry("GET", "/v1/models", "models"),
        entry("GET", "/v1/models/{id:path}", "model"),
        entry("GET", "/users/{id}", "user"),
        entry("DELETE", "/users/{user_id}/keys/{key_id}", "key"),
        entry("GET", "/users/me", "me"),
        entry(ANY, "/raw/{rest:path}", "raw"),
    ]
)


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/v1/chat/completions", "chat"),
        ("GET", "/v1/models/Qwen/Qwen3-0.6B", "model"),
        ("GET", "/users/7", "user"),
        ("GET", "/users/me", "me"),
        ("HEAD", "/v1/models", "models"),
        ("HEAD", "/users/7", "user"),
        ("OPTIONS", "/raw/x", "raw"),
        ("PROPFIND", "/raw/x/y", "raw"),
    ],
)
def test_a_request_goes_to_the_most_exact_entry(method: str, path: str, route: str) -> None:
    assert route_of(TABLE, method, path) == route


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "",
        "/v1",
        "/v1/models/",
        "/v1/chat/completions/",
        "//v1/models",
        "/V1/models",
        "/users/7/8",
        "/raw/",
    ],
)
def test_what_is_not_named_is_not_there(path: str) -> None:
    with pytest.raises(NotFound) as refused:
        TABLE.find("GET", path)
    assert refused.value.answer_status == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/chat/completions", b"POST"),
        ("POST", "/v1/models", b"GET, HEAD"),
        ("OPTIONS", "/v1/chat/completions", b"POST"),
        ("POST", "/users/me", b"GET, HEAD"),
        ("HEAD", "/v1/chat/completions", b"POST"),
    ],
)
def test_another_method_is_405_and_is_told_which_there_are(method: str, path: str, allow: bytes) -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        TABLE.find(method, path)
    assert refused.value.headers == [(b"allow", allow)]


def test_parameters_are_called_as_their_own_entry_calls_them() -> None:
    """Two entries of one shape may name its parameters differently."""
    table = Table(
        [entry("GET", "/keys/{id}"), entry("DELETE", "/keys/{key_id}"), entry("GET", "/f/{a}/{b:path}")]
    )
    assert table.find("GET", "/keys/7")[1] == {"id": "7"}
    assert table.find("DELETE", "/keys/7")[1] == {"key_id": "7"}
    assert table.find("GET", "/f/x/y/z\n")[1] == {"a": "x", "b": "y/z\n"}


def test_what_looks_like_a_pattern_is_taken_literally() -> None:
    table = Table([entry("GET", "/a.b/{id}"), entry("GET", "/(x)*")])
    with pytest.raises(NotFound):
        table.find("GET", "/aXb/1")
    assert route_of(table, "GET", "/(x)*") == "r"


def test_all_clashes_are_told_at_once_with_the_remedy() -> None:
    claims = [
        entry("GET", "/a", owner="routes[0]"),
        entry("GET", "/a", owner="plugins.x"),
        entry("POST", "/b/{id}", owner="routes[1]"),
        entry("POST", "/b/{name}", owner="plugins.y"),
        entry("GET", "/b/{name}", owner="plugins.z"),
    ]
    with pytest.raises(ConfigError) as refused:
        Table(claims)
    remedy = "give one of them a `prefix` (or another `path`), or a `listen` address of its own"
    assert refused.value.problems == [
        f"plugins.x: GET /a is also claimed by routes[0]; {remedy}",
        f"plugins.y: POST /b/{{name}} is also claimed by routes[1]; {remedy}",
    ]
