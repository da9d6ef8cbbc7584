"""Which route of an address takes a request."""

from typing import Any

import pytest
from playbook import Answers, play
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Host, Mount, Route, WebSocketRoute

from llmgate.errors import ConfigError, MethodNotAllowed, NotFound
from llmgate.gate.router import ANY, WEBSOCKET, Claim, Router, claims_of


class Entry(BaseRoute):
    """A route that claims one method on one path."""

    def __init__(self, method: str, path: str, name: str, owner: str) -> None:
        self.claims = [Claim(method, path)]
        self.app = Answers()
        self.name = name
        self.owner = owner


def entry(method: str, path: str, route: str = "r", owner: str = "routes[0]") -> Entry:
    return Entry(method, path, route, owner)


def route_of(table: Router, method: str, path: str) -> Any:
    return table.find(method, path)[0].route.name


TABLE = Router(
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
    table = Router(
        [entry("GET", "/keys/{id}"), entry("DELETE", "/keys/{key_id}"), entry("GET", "/f/{a}/{b:path}")]
    )
    assert table.find("GET", "/keys/7")[1] == {"id": "7"}
    assert table.find("DELETE", "/keys/7")[1] == {"key_id": "7"}
    assert table.find("GET", "/f/x/y/z\n")[1] == {"a": "x", "b": "y/z\n"}


def test_what_looks_like_a_pattern_is_taken_literally() -> None:
    table = Router([entry("GET", "/a.b/{id}"), entry("GET", "/(x)*")])
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
        Router(claims)
    remedy = "give one of them a `prefix` (or another `path`), or a `listen` address of its own"
    assert refused.value.problems == [
        f"plugins.x: GET /a is also claimed by routes[0]; {remedy}",
        f"plugins.y: POST /b/{{name}} is also claimed by routes[1]; {remedy}",
    ]


async def say(request: Request) -> Response:
    return PlainTextResponse(f"{request.path_params}")


@pytest.mark.parametrize(
    ("route", "claims"),
    [
        (Route("/a", say), [("GET", "/a")]),
        (
            Route("/a/{id:int}", say, methods=["POST", "PUT"]),
            [("POST", "/a/{id:int}"), ("PUT", "/a/{id:int}")],
        ),
        (Route("/a", Answers()), [(ANY, "/a")]),
        (WebSocketRoute("/ws", Answers()), [(WEBSOCKET, "/ws")]),
        (
            Mount("/m", Answers()),
            [(m, f"/m{p}") for m in (ANY, WEBSOCKET) for p in ("", "/", "/{path:path}")],
        ),
        (Mount("/", Answers()), [(m, p) for m in (ANY, WEBSOCKET) for p in ("/", "/{path:path}")]),
        (Host("example.org", Answers()), []),
    ],
)
def test_what_starlettes_own_routes_take(route: BaseRoute, claims: list[tuple[str, str]]) -> None:
    assert list(claims_of(route)) == claims


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/literal", b"{}"),
        ("/number/7", b"{'n': 7}"),
        ("/rest/a/b", b"{'p': 'a/b'}"),
        ("/sub/inner/x", b"{'id': 'x'}"),
        ("/app/", b"{}"),
    ],
)
async def test_a_route_of_starlettes_gets_what_starlette_gives_it(path: str, body: bytes) -> None:
    """Converted parameters, and for mounts the path below them."""
    routes = [
        Mount("/sub", routes=[Route("/inner/{id}", say)]),
        Mount("/app", Starlette(routes=[Route("/", say)])),
        Route("/number/{n:int}", say),
        Route("/rest/{p:path}", say),
        Route("/literal", say),
    ]
    told = await play(Router(routes), path=path)
    assert (told.status, told.body) == (200, body)


async def test_a_route_that_makes_no_claims_is_asked_last() -> None:
    """A host, for example; a literal path wins, whatever stands first."""
    table = Router([Host("gate", PlainTextResponse("by host")), Route("/own", PlainTextResponse("own"))])
    assert (await play(table, path="/own")).body == b"own"
    assert (await play(table, path="/x")).body == b"by host"
