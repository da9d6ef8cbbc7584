"""The model list as clients know it, and single models out of it."""

import json

import pytest

from llmgate.backends.model_list import ModelCards

CARDS = [{"id": "big", "object": "model"}, {"id": "small", "object": "model"}]
LIST = json.dumps({"object": "list", "data": CARDS}).encode()


class Relay:
    """Answers everything with `body`, and notes what it was asked."""

    def __init__(self, body: bytes = LIST, status: int = 200) -> None:
        self.body = body
        self.status = status
        self.asked: list[tuple[str, str, bytes]] = []

    async def __call__(self, scope: dict, receive: object, send: object) -> None:
        self.asked.append((scope["method"], scope["path"], scope["raw_path"]))
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": self.body[:5], "more_body": True})
        await send({"type": "http.response.body", "body": self.body[5:]})


async def asked(
    relay: Relay, path: str, method: str = "GET", *, kind: str = "http", **how: object
) -> tuple[int, bytes]:
    """Status and body that a client gets for `path`."""
    said = []

    async def send(message: dict) -> None:
        said.append(message)

    scope = {"type": kind, "method": method, "path": path, "raw_path": path.encode(), "headers": []}
    await ModelCards(relay, **{"aliases": {}, **how})(scope, None, send)
    return said[0]["status"], b"".join(message["body"] for message in said[1:])


@pytest.mark.parametrize(
    ("path", "method", "kind"),
    [
        ("/v1/models", "GET", "http"),
        ("/v1/models/big", "POST", "http"),
        ("/v1/chat/completions", "GET", "http"),
        ("/v1/modelsx", "GET", "http"),
        ("/v1/models/big", "GET", "websocket"),
    ],
)
async def test_what_is_not_for_it_passes_byte_for_byte(path: str, method: str, kind: str) -> None:
    relay = Relay()
    assert await asked(relay, path, method, kind=kind) == (200, LIST)
    assert relay.asked == [(method, path, path.encode())]


async def test_one_model_comes_out_of_the_list() -> None:
    relay = Relay()
    status, body = await asked(relay, "/v1/models/small")
    assert (status, json.loads(body)) == (200, CARDS[1])
    assert relay.asked == [("GET", "/v1/models", b"/v1/models")]
    assert await asked(relay, "/v1/models/small", "HEAD") == (200, b"")
    assert (await asked(relay, "/v1/models/none"))[0] == 404
    assert (await asked(relay, "/v1/models/small/"))[0] == 200


async def test_alias_has_a_card_of_its_own() -> None:
    card = {"id": "chat", "object": "model"}
    _, body = await asked(Relay(), "/v1/models", aliases={"chat": "big", "lost": "nowhere"})
    assert json.loads(body) == {"object": "list", "data": [*CARDS, card]}
    _, body = await asked(Relay(), "/v1/models/chat", aliases={"chat": "big"})
    assert json.loads(body) == card


async def test_models_that_are_not_allowed_are_not_there() -> None:
    _, body = await asked(Relay(), "/v1/models", allowed=["small"])
    assert json.loads(body)["data"] == CARDS[1:]
    assert (await asked(Relay(), "/v1/models/big", allowed=["small"]))[0] == 404


@pytest.mark.parametrize(
    ("body", "status"), [(LIST, 503), (b"not json", 200), (b'{"data": {}}', 200), (b'{"data": [1]}', 200)]
)
async def test_answer_that_is_no_list_passes_as_it_is(body: bytes, status: int) -> None:
    for path in ("/v1/models", "/v1/models/big"):
        assert await asked(Relay(body, status), path, allowed=["big"]) == (status, body)
