"""What a backend has stored for one caller is not shown to another."""

import json

import pytest
from playbook import Answers, Told, play, scope_of
from stores import clock, migrated_file, sqlite_url, store

from llmgate.exchange import Exchange, Principal
from llmgate.identity.response_owners import ResponseOwners
from llmgate.middleware import Models, StoredResponses
from llmgate.store import Store

__all__ = ["clock", "migrated_file", "sqlite_url", "store"]


async def asked(method: str, path: str, **fields: object):
    app = Answers()
    body = json.dumps({"input": "hello", **fields}).encode() if method == "POST" else b""
    return await play(Models(StoredResponses(app)), method, path, body=body), app


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/V1/Responses/resp_1"),
    ],
)
async def test_an_id_opens_nothing(method: str, path: str) -> None:
    told, app = await asked(method, path)
    assert (told.status, app.scopes) == (404, [])
    assert "GET /responses/{id}" in told.error["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"conversation": {"id": "conv_1"}}, "conversation"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
        ({"input": [{"id": "msg_1"}]}, "input"),
        ({"input": [{"type": None, "id": "msg_1"}]}, "input"),
        ({"input": [{"Type": "item_reference", "ID": "msg_1"}]}, "input"),
    ],
)
async def test_nobody_goes_on_with_what_is_stored(fields: dict[str, object], param: str) -> None:
    told, app = await asked("POST", "/v1/responses", **fields)
    assert (told.status, told.error["param"], app.scopes) == (400, param, [])


@pytest.mark.parametrize(
    "item",
    [
        b'{"type":"item\\u005freference","id":"msg_1"}',
        b'{"i\\u0064":"msg_1"}',
        b'{"type":"item_reference","id":"msg_1","type":"message"}',
    ],
)
async def test_a_reference_is_found_however_it_is_written(item: bytes) -> None:
    """By escapes, and where its type is given twice."""
    app = Answers()
    body = b'{"input":[%b]}' % item
    told = await play(Models(StoredResponses(app)), "POST", "/v1/responses", body=body)
    assert (told.status, told.error["param"], app.scopes) == (400, "input", [])


async def test_what_an_answer_has_brought_may_be_sent_back() -> None:
    """Its items have ids and say what they are; a text may speak of references."""
    items = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "message", "role": "assistant", "id": "msg_1", "content": []},
        {"role": "user", "content": "what is an item_reference?", "id": "x"},
    ]
    told, _ = await asked("POST", "/v1/responses", input=items)
    assert told.status == 200
    told, _ = await asked("POST", "/v1/responses", input="an item_reference")
    assert told.status == 200


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/responses/"])
async def test_a_response_of_its_own_passes(path: str) -> None:
    told, _ = await asked("POST", path, previous_response_id=None, store=True)
    assert told.status == 200
    told, _ = await asked("POST", "/v1/chat/completions", previous_response_id="resp_1")
    assert told.status == 200


ANN, BOB = Principal(1, "ann", key_id=1), Principal(2, "bob", key_id=2)
CLERK = Principal(2, "bob", key_id=3, organization_id=7)
PLAIN = [b'{"object":"response","output":[{"id":"msg_1"}],', b'"id":"resp_1","usage":null}']
STREAM = [
    b'event: response.created\ndata: {"type":"response.created","response":{"output":[],"i',
    b'd":"resp_1"}}\n\ndata: {"type":"response.output_item.added","item":{"id":"msg_1"}}\n\n',
]


@pytest.fixture
def store_url(sqlite_url: str) -> str:
    return sqlite_url


class Asking:
    """A route that lets stored responses through, in front of a backend that answers in these pieces."""

    def __init__(
        self, store: Store, pieces: list[bytes], kind: bytes = b"application/json", status: int = 200
    ):
        answers = Answers(pieces, status=status, headers=[(b"content-type", kind)])
        self.app, self.owners = answers, ResponseOwners(store)
        self.layers = Models(StoredResponses(answers, owners=self.owners))

    async def __call__(self, who: Principal | None, method: str, path: str, **fields: object) -> Told:
        body = json.dumps({"input": "hello", **fields}).encode() if method == "POST" else b""
        exchange = Exchange("1", 0.0, principal=who)
        return await play(self.layers, method, path, body=body, llmgate=exchange)


@pytest.mark.parametrize(
    ("pieces", "kind"), [(PLAIN, b"application/json"), (STREAM, b"text/event-stream; charset=utf-8")]
)
async def test_a_response_is_for_whom_it_was_made(store: Store, pieces: list[bytes], kind: bytes) -> None:
    """Read, deleted, gone on with; for everybody else it is not there, and the backend is not asked."""
    ask = Asking(store, pieces, kind)
    assert (await ask(ANN, "POST", "/v1/responses")).body == b"".join(pieces)
    for path in ("/v1/responses/resp_1", "/v1/responses/resp_1/input_items", "/V1/Responses/resp_1/"):
        assert (await ask(ANN, "GET", path)).status == 200
        reached = len(ask.app.scopes)
        for other in (BOB, CLERK, None):
            assert (await ask(other, "GET", path)).status == 404
        assert len(ask.app.scopes) == reached
    assert (await ask(ANN, "POST", "/v1/responses", previous_response_id="resp_1")).status == 200
    told = await ask(BOB, "POST", "/v1/responses", previous_response_id="resp_1")
    assert (told.status, told.error["param"]) == (404, "previous_response_id")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/responses/resp_1//",
        "/v1/responses/resp_1//a",
        "/v1/responses//resp_1",
        "/v1" + "/responses/resp_1" * 3000 + "//",
    ],
)
async def test_a_path_that_backends_read_in_different_ways_names_nothing(store: Store, path: str) -> None:
    ask = Asking(store, PLAIN)
    await ask(ANN, "POST", "/v1/responses")
    assert (await ask(ANN, "GET", path)).status == 404


async def test_an_answer_in_many_pieces_is_joined_once(store: Store) -> None:
    ask = Asking(store, [bytes([byte]) for byte in b"".join(PLAIN)])
    await ask(ANN, "POST", "/v1/responses")
    assert (await ask(ANN, "GET", "/v1//responses/resp_1/")).status == 200


async def test_an_id_is_known_before_its_caller_has_it(store: Store) -> None:
    """Or the next request, to another worker, would not find it."""
    ask = Asking(store, STREAM, b"text/event-stream")
    seen: list[bool] = []

    async def send(message: dict[str, object]) -> None:
        if b"resp_1" in bytes(message.get("body", b"")):  # type: ignore[arg-type]
            seen.append(await ask.owners.is_of("resp_1", "user:1"))

    scope = scope_of("POST", "/v1/responses", llmgate=Exchange("1", 0.0, principal=ANN))
    await ask.layers(scope, one_body(b'{"input":"x"}'), send)
    assert seen == [True]
    assert await ask.owners.is_of("resp_1", "user:1")


def one_body(body: bytes):
    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"conversation": "conv_1"}, 400),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, 400),
        ({"previous_response_id": 5}, 400),
        ({"previous_response_id": "resp_" + "x" * 5000}, 404),
        ({"previous_response_id": None}, 200),
        ({"previous_response_id": ""}, 200),
    ],
)
async def test_what_else_is_stored_is_known_of_nobody(
    store: Store, fields: dict[str, object], status: int
) -> None:
    assert (await Asking(store, PLAIN)(ANN, "POST", "/v1/responses", **fields)).status == status


@pytest.mark.parametrize(("fields", "status"), [({"store": False}, 200), ({}, 400)])
async def test_what_is_not_stored_is_not_remembered(
    store: Store, fields: dict[str, object], status: int
) -> None:
    ask = Asking(store, PLAIN, status=status)
    await ask(ANN, "POST", "/v1/responses", **fields)
    assert not await ask.owners.is_of("resp_1", "user:1")


async def test_members_of_an_organization_share_its_responses(store: Store) -> None:
    ask = Asking(store, PLAIN)
    await ask(CLERK, "POST", "/v1/responses")
    colleague = Principal(9, "eve", key_id=9, organization_id=7)
    assert (await ask(colleague, "GET", "/v1/responses/resp_1")).status == 200
    assert (await ask(BOB, "GET", "/v1/responses/resp_1")).status == 404


async def test_the_list_of_all_is_nobodys(store: Store) -> None:
    assert (await Asking(store, PLAIN)(ANN, "GET", "/v1/responses")).status == 404
