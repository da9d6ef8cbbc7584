"""The layer `llmgate_platform.adapters`, for routes of OpenAI's API: adapters are models there, each its owner's alone.

It lists the caller's adapters in `/models`, answers for them wherever they are served, and says of anybody else's
that there is no such model. What they use is priced as their base.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from llmgate.plugin.api import Endpoint, NotFound, Refusal, answer, exchange_of

from ..shapes import Missing
from .vllm import ADAPTER_FIELD, adapter_name

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from llmgate.plugin.api import Exchange, ModelRequest, Principal

    from ..models import Catalog, ModelRow
    from ..settings import ModelSettings
    from .adapters import Targets

ADAPTER: Final = re.compile(r"llmgate-job-([1-9][0-9]{0,17})")
PATHS: Final = {Endpoint.COMPLETIONS: "/v1/completions", Endpoint.CHAT: "/v1/chat/completions"}


class AdapterModels:
    """See the module's text."""

    def __init__(self, app: ASGIApp, *, catalog: Catalog, targets: Targets) -> None:
        self.app = app
        self.collects_edits = getattr(app, "collects_edits", False)
        self._catalog = catalog
        self._targets = targets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI. The body is read by a layer above."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        exchange, path = exchange_of(scope), scope["path"].rstrip("/")
        request = exchange.model_request
        try:
            if request is not None and (job_id := _asked_for(request)) is not None:
                await self._ask(job_id, exchange, scope, receive, send)
            elif scope["method"] == "GET" and path.endswith("/models"):
                await self._list(exchange, scope, receive, send)
            elif scope["method"] == "GET" and (named := ADAPTER.fullmatch(path.rpartition("/models/")[2])):
                row, base = await self._owned(int(named[1]), exchange.principal)
                await _send_json(send, _card(row, base))
            else:
                await self.app(scope, receive, send)
        except Refusal as refusal:
            await answer(scope, send, refusal)

    async def _ask(self, job_id: int, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        row, base = await self._owned(job_id, exchange.principal)
        target = self._targets.of(row, base)
        exchange.model = base.upstream_model
        if base.served_by == "vllm":
            name = adapter_name(job_id)
            exchange.edit({"model": name, ADAPTER_FIELD: msgspec.UNSET})
            # A route that chooses among upstreams writes the model's name itself, and charges for it.
            here = [target for target in exchange.targets if target.upstream == base.upstream]
            if exchange.targets and not here:
                raise _unknown(name)
            exchange.targets = tuple(replace(target, model=name) for target in here[:1])
            exchange.charges_asked = True
            await self.app(exchange.hand_on(scope, self.app), exchange.receive, send)
            return
        request = exchange.model_request
        assert request is not None
        if request.endpoint not in PATHS:
            raise NotFound(f"Adapters answer at {' and '.join(PATHS.values())}.")
        exchange.edit({"model": target.model, **target.extra})
        exchange.model_request, exchange.targets = msgspec.structs.replace(request, model=target.model), ()
        path = PATHS[request.endpoint]
        scope = exchange.hand_on({**scope, "path": path, "raw_path": path.encode()}, target.app)
        await target.app(scope, exchange.receive, send)

    async def _list(self, exchange: Exchange, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [pair for pair in scope["headers"] if pair[0] != b"accept-encoding"]
        start: Message = {}
        pieces: list[bytes] = []

        async def collecting(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            elif message["type"] == "http.response.body":
                pieces.append(message.get("body", b""))

        await self.app({**scope, "headers": headers}, receive, collecting)
        body = (
            await self._with_adapters(b"".join(pieces), exchange.principal)
            if start["status"] == 200
            else b"".join(pieces)
        )
        kept = [pair for pair in start.get("headers", ()) if pair[0].lower() != b"content-length"]
        await send({**start, "headers": [*kept, (b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})

    async def _with_adapters(self, body: bytes, caller: Principal | None) -> bytes:
        try:
            listing: dict[str, Any] = msgspec.json.decode(body)
            others = [card for card in listing["data"] if not ADAPTER.fullmatch(str(card.get("id")))]
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError):
            return body
        owned = [] if caller is None else await self._catalog.adapters_of(caller)
        return msgspec.json.encode({**listing, "data": others + [_card(row, base) for row, base in owned]})

    async def _owned(self, job_id: int, caller: Principal | None) -> tuple[ModelRow, ModelSettings]:
        if caller is not None:
            try:
                return await self._catalog.adapter(job_id, caller)
            except Missing:
                pass
        raise _unknown(adapter_name(job_id))


def _unknown(name: str) -> NotFound:
    return NotFound(f"The model `{name}` does not exist.", code="model_not_found", param="model")


def _asked_for(request: ModelRequest) -> int | None:
    """The job whose adapter a request asks for, by the model's name or as the platform itself does."""
    own = bytes(request.fields.get(ADAPTER_FIELD, b""))
    if own.isdigit():
        return int(own)
    named = ADAPTER.fullmatch(request.model or "")
    return None if named is None else int(named[1])


def _card(row: ModelRow, base: ModelSettings) -> dict[str, Any]:
    assert row.job_id is not None
    return {
        "id": adapter_name(row.job_id),
        "object": "model",
        "created": int(row.created_at),
        "owned_by": "llmgate",
        "parent": base.upstream_model,
    }


async def _send_json(send: Send, value: object) -> None:
    body = msgspec.json.encode(value)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
