"""Which model a request means."""

import msgspec
import pytest
from playbook import Answers, play

from llmgate.middleware import Models

CHAT = "/v1/chat/completions"


async def model_request(body: bytes, path: str = CHAT, kind: str = "application/json", **settings: object):
    app = Answers()
    told = await play(Models(app, **settings), "POST", path, headers={"content-type": kind}, body=body)
    return told, app


def form(*fields: str, file: bytes = b"RIFF0000") -> bytes:
    """An upload of a recording, as browsers and clients write it."""
    parts = [f"--B\r\nContent-Disposition: form-data; name={field}\r\n".encode() for field in fields]
    upload = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n' + file + b"\r\n"
    return b"".join(parts) + upload + b"--B--\r\n"


TRANSCRIPTIONS = "/v1/audio/transcriptions"
FORM = "multipart/form-data; boundary=B"


@pytest.mark.parametrize(
    "body", [b'{"messages":[]}', b'{"messages":[],"model":null}', b'{"messages":[],"model":""}']
)
async def test_a_default_fills_in_what_is_missing(body: bytes) -> None:
    told, app = await model_request(body, default="small")
    assert msgspec.json.decode(app.bodies[0]) == {"messages": [], "model": "small"}
    assert told.scope["llmgate"].model == "small"
    lengths = [value for name, value in app.scopes[0]["headers"] if name == b"content-length"]
    assert lengths == [b"%d" % len(app.bodies[0])]


async def test_an_alias_becomes_the_real_name_and_nothing_else_changes() -> None:
    _, app = await model_request(
        b'{"model":"gpt", "top_p":1.0e-1,"x": [1 ,2]}', aliases={"gpt": "Qwen/Qwen3"}
    )
    assert app.bodies[0] == b'{"model":"Qwen/Qwen3","top_p":1.0e-1,"x":[1 ,2]}'


async def test_a_body_that_needs_no_change_passes_byte_for_byte() -> None:
    body = b' {"model" : "Qwen", "x":\t1}\n'
    _, app = await model_request(body, aliases={"gpt": "Qwen"}, allowed=["Qwen"])
    assert app.bodies == [body]


async def test_allowed_are_the_names_that_clients_use() -> None:
    told, _ = await model_request(b'{"model":"gpt"}', aliases={"gpt": "Qwen"}, allowed=["gpt"])
    assert told.status == 200
    told, app = await model_request(b'{"model":"Qwen"}', aliases={"gpt": "Qwen"}, allowed=["gpt"])
    assert (told.status, told.error["code"], told.error["param"]) == (404, "model_not_found", "model")
    assert app.bodies == []


@pytest.mark.parametrize("place", ["engines", "Deployments", "models"])
async def test_where_names_count_no_path_names_a_model(place: str) -> None:
    """Azure obeys its path alone. The route's own path is the operator's word."""
    path, body = f"/v1/{place}/dear/chat/completions", b'{"model":"cheap"}'
    told, app = await model_request(body, path, by_name=True)
    assert (told.status, app.bodies) == (400, [])
    told, _ = await model_request(body, path, by_name=True, prefix=f"/v1/{place}/dear/")
    assert told.status == 200
    told, _ = await model_request(body, path)
    assert told.status == 200


@pytest.mark.parametrize("field", ["models", "fallbacks"])
async def test_where_names_count_one_model_is_named(field: str) -> None:
    """OpenRouter and LiteLLM ask others where the first one fails, and nobody had allowed or priced those."""
    body = msgspec.json.encode({"model": "gpt", field: ["dear"]})
    for settings in ({"allowed": ["gpt"]}, {"by_name": True}, {"billable": lambda *_: True}):
        told, app = await model_request(body, **settings)
        assert (told.status, told.error["param"], app.bodies) == (400, field, [])
    told, _ = await model_request(body)
    assert told.status == 200
    told, _ = await model_request(b'{"model":"gpt","models":null}', by_name=True)
    assert told.status == 200


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        (CHAT, "application/json", b"{}"),
        ("/v1/audio/transcriptions", "multipart/form-data; boundary=B", form()),
    ],
)
async def test_a_request_whose_model_cannot_be_read_is_not_let_past_a_list(
    path: str, kind: str, body: bytes
) -> None:
    told, app = await model_request(body, path, kind, allowed=["whisper"])
    assert (told.status, told.error["message"]) == (400, "body.model: name the model")
    assert app.bodies == []


async def test_the_model_that_a_form_names_is_held_to_the_list() -> None:
    """Whatever the default is (case model-named-in-a-form)."""
    expensive = form('"model"\r\n\r\nexpensive')
    told, app = await model_request(expensive, TRANSCRIPTIONS, FORM, default="small", allowed=["small"])
    assert (told.status, told.error["code"], app.bodies) == (404, "model_not_found", [])
    small = form('"model"\r\n\r\nsmall')
    told, app = await model_request(small, TRANSCRIPTIONS, FORM, allowed=["small"])
    assert (told.status, app.bodies, told.scope["llmgate"].model) == (200, [small], "small")


async def test_an_alias_and_a_default_are_written_into_a_form() -> None:
    aliased = form('"model"\r\n\r\ngpt')
    told, app = await model_request(aliased, TRANSCRIPTIONS, FORM, aliases={"gpt": "openai/whisper"})
    assert app.bodies == [aliased.replace(b"gpt", b"openai/whisper")]
    assert told.scope["llmgate"].model == "openai/whisper"
    _, app = await model_request(form(), TRANSCRIPTIONS, FORM, default="small")
    assert app.bodies[0].startswith(
        b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nsmall\r\n--B\r\n'
    )
    lengths = [value for name, value in app.scopes[0]["headers"] if name == b"content-length"]
    assert lengths == [b"%d" % len(app.bodies[0])]


@pytest.mark.parametrize("name", ["x" * 257, "a\\u0000b", "a\\nb", "\\u202e"])
async def test_a_name_that_no_log_should_hold_is_refused(name: str) -> None:
    told, _ = await model_request(b'{"model":"%s"}' % name.encode())
    assert (told.status, told.error["param"]) == (400, "model")


async def test_what_is_no_model_endpoint_passes_unread() -> None:
    _, app = await model_request(b"\xff not JSON", "/v1/tokenize", default="small", allowed=[])
    assert app.bodies == [b"\xff not JSON"]


async def test_a_body_over_the_limit_is_413_however_it_comes() -> None:
    told = await play(Models(Answers(), max_body=10), "POST", CHAT, body=[b"{}    "] * 2)
    assert (told.status, told.error["code"]) == (413, "request_too_large")


async def test_a_client_that_leaves_within_its_body_reaches_nobody() -> None:
    app = Answers()
    told = await play(Models(app), "POST", CHAT, body=b'{"mod', leaves=True)
    assert (told.messages, app.scopes) == ([], [])
