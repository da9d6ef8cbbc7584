"""A layer that goes by a body: it reads one that nobody has read, and lets pass what asks no model."""

from playbook import Answers, play
from starlette.types import Receive, Scope, Send

from llmgate.exchange import BodyLayer

CHAT = "/v1/chat/completions"
BODY = b'{"model":"small","messages":[]}'


async def test_it_reads_the_body_and_hands_it_on() -> None:
    app = Answers()
    told = await play(BodyLayer(app), "POST", CHAT, body=BODY)
    assert told.scope["llmgate"].model == "small"
    assert app.bodies == [BODY]


async def test_one_below_another_reads_nothing() -> None:
    read = []

    class Reads(BodyLayer):
        async def _read(self, *told: object) -> None:
            read.append(self)
            await super()._read(*told)  # type: ignore[arg-type]

    inner = Reads(Answers())
    outer = Reads(inner)
    await play(outer, "POST", CHAT, body=BODY)
    assert read == [outer]


async def test_what_asks_no_model_passes_it_by_unread() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((await receive())["body"])

    seen: list[bytes] = []
    await play(BodyLayer(app), "POST", "/v1/files", body=b"no JSON")
    assert seen == [b"no JSON"]


async def test_a_body_that_is_none_is_refused() -> None:
    assert (await play(BodyLayer(Answers()), "POST", CHAT, body=b"no JSON")).status == 400
    assert (await play(BodyLayer(Answers(), max_body=5), "POST", CHAT, body=BODY)).status == 413
