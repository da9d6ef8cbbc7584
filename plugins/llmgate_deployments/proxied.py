"""An answer on its way from the layers of a deployment's route to the client, put into the guide's words."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from llmgate.plugin.api import AnswerCut, Header, Refusal, UpstreamFailed, answer, exchange_of
from llmgate.plugin.kit.formats import naive_iso

from .translation import Texts, content_of, refusal_of

if TYPE_CHECKING:
    from starlette.types import Message, Scope, Send

    from llmgate.plugin.api import Clock

RATE_LIMITS = b"x-ratelimit-"
"""Headers that a limit of the gate puts on answers, and that clients are to see."""


class Usage(Struct, frozen=True):
    """Tokens, as the ledger has them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Answer(Struct, frozen=True):
    """A whole answer."""

    content: str
    model: str
    deployment_id: int
    finish_reason: str | None
    usage: Usage | None
    created_at: str


class ProxiedRequest:
    """An answer on its way to the client. What the gate itself answers passes as it is."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._exchange = exchange_of(scope)
        self._status = 0
        self._headers: list[Header] = []
        self._pieces: list[bytes] = []
        self.begun = False

    async def send(self, message: Message) -> None:
        """ASGI's `send` of the layers below."""
        if self._exchange.refused is not None:
            await self._pass(message)
        elif message["type"] == "http.response.start":
            self._status = message["status"]
            self._headers = [pair for pair in message["headers"] if pair[0].startswith(RATE_LIMITS)]
            await self._start(message["headers"])
        elif message["type"] == "http.response.body":
            await self._piece(message.get("body", b""), more=message.get("more_body", False))

    async def _start(self, headers: list[Header]) -> None:
        """The upstream's answer begins."""

    async def _piece(self, body: bytes, *, more: bool) -> None:
        """A piece of it: by default, all are kept until the last."""
        self._pieces.append(body)
        if not more:
            await self._whole(b"".join(self._pieces))

    async def _whole(self, body: bytes) -> None:
        await self._refuse(refusal_of(self._status, body))

    async def _refuse(self, refusal: Refusal) -> None:
        refusal.headers += self._headers
        await answer(self._scope, self._pass, refusal)

    async def _pass(self, message: Message) -> None:
        self.begun = True
        await self._send(message)

    async def _begin(self, *headers: Header) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": [*headers, *self._headers]}
        await self._pass(start)


class Whole(ProxiedRequest):
    """Sends `Answer` when the upstream's answer is whole."""

    def __init__(self, scope: Scope, send: Send, model: str, deployment_id: int, clock: Clock) -> None:
        super().__init__(scope, send)
        self._model = model
        self._deployment_id = deployment_id
        self._clock = clock

    async def _whole(self, body: bytes) -> None:
        if self._status != HTTPStatus.OK:
            await super()._whole(body)
            return
        try:
            content, reason = content_of(body)
        except UpstreamFailed as refusal:
            await self._refuse(refusal)
            return
        said = Answer(
            content, self._model, self._deployment_id, reason, self._usage(), naive_iso(self._clock())
        )
        encoded = msgspec.json.encode(said)
        await self._begin((b"content-type", b"application/json"), (b"content-length", b"%d" % len(encoded)))
        await self._pass({"type": "http.response.body", "body": encoded})

    def _usage(self) -> Usage | None:
        reading = self._exchange.reading
        if reading is None:
            return None
        usage = reading.usage
        return Usage(usage.input_tokens, usage.output_tokens, usage.total)


class Streamed(ProxiedRequest):
    """Sends the text of each chunk when it comes."""

    _texts: Texts | None = None

    async def _start(self, headers: list[Header]) -> None:
        streams = any(name == b"content-type" and b"event-stream" in value for name, value in headers)
        if self._status != HTTPStatus.OK or not streams:
            return
        self._texts = Texts()
        await self._begin(
            (b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")
        )

    async def _piece(self, body: bytes, *, more: bool) -> None:
        if self._texts is None:  # an error, or an answer that is no stream
            await super()._piece(body, more=more)
            return
        out = self._texts.feed(body)
        if not more and not self._texts.done:
            raise AnswerCut("the upstream's stream has no end")
        if out or not more:
            await self._pass({"type": "http.response.body", "body": out, "more_body": more})
