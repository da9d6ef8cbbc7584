"""The model list as this gate's clients know it, and single models out of it, which vLLM does not serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from ..errors import answer, send_json
from .catalog import unknown_model

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from .catalog import Catalog

    Visible = Callable[[str], bool]

LIST_PATH = "/models"
_PLAIN_CARD = {"object": "model", "created": 0}
"""What OpenAI's clients want to find in a card."""


class ModelCards:
    """Around a relay: answers `GET .../models/{id}` from the upstream's list, and gives aliases a place in it.

    A list that no alias and no `allowed` changes passes byte for byte. With a `catalog` the gate answers itself, with
    the models of all upstreams; `cards` tells what an upstream says of a model of its own. `visible` says which ones
    a caller may use; None: all of them.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        aliases: Mapping[str, str],
        allowed: Collection[str] | None = None,
        catalog: Catalog | None = None,
        cards: Callable[[str, str], Mapping[str, Any] | None] = lambda *_: None,
        visible: Callable[[Scope], Visible | None] = lambda _: None,
    ) -> None:
        self.app = app
        self.collects_edits = getattr(app, "collects_edits", False)
        self._aliases = dict(aliases)
        self._allowed = None if allowed is None else frozenset(allowed)
        self._catalog = catalog
        self._card = cards
        self._visible = visible

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI. Not a coroutine of its own: every request passes here, and few are for this."""
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            before, found, wanted = scope["path"].rstrip("/").partition(LIST_PATH)
            if found and self._catalog is not None and wanted[:1] in ("", "/"):
                return self._from_catalog(scope, send, self._catalog, wanted[1:])
            if found and wanted.startswith("/"):
                return self._one(scope, receive, send, before + LIST_PATH, wanted[1:])
            changed = self._aliases or self._allowed is not None
            if found and not wanted and (changed or self._visible(scope) is not None):
                return self._list(scope, receive, send)
        return self.app(scope, receive, send)

    async def _from_catalog(self, scope: Scope, send: Send, catalog: Catalog, wanted: str) -> None:
        cards = {
            name: {
                **_PLAIN_CARD,
                "owned_by": at.upstream,
                **(self._card(at.upstream, at.model) or {}),
                "id": name,
            }
            for name, at in catalog.listed().items()
            if self._shows(scope, name)
        }
        if not wanted:
            await send_json(scope, send, {"object": "list", "data": list(cards.values())})
        elif wanted in cards:
            await send_json(scope, send, cards[wanted])
        else:
            await answer(scope, send, unknown_model(wanted, list(cards)))

    async def _one(self, scope: Scope, receive: Receive, send: Send, path: str, wanted: str) -> None:
        upstream = _Collected()
        listing = {**scope, "method": "GET", "path": path, "raw_path": path.encode()}
        await self.app(listing, receive, upstream.send)
        cards = self._cards(scope, upstream)
        if cards is None:
            await upstream.replay(send)
        elif wanted in cards:
            await send_json(scope, send, cards[wanted])
        else:
            await answer(scope, send, unknown_model(wanted, ()))

    async def _list(self, scope: Scope, receive: Receive, send: Send) -> None:
        upstream = _Collected()
        await self.app({**scope, "method": "GET"}, receive, upstream.send)
        cards = self._cards(scope, upstream)
        if cards is None:
            await upstream.replay(send)
        else:
            whole = msgspec.json.decode(upstream.body)
            await send_json(scope, send, {**whole, "data": list(cards.values())})

    def _cards(self, scope: Scope, upstream: _Collected) -> dict[str, Any] | None:
        """Model cards by the names that clients use; None if the upstream did not answer with a list."""
        try:
            data = msgspec.json.decode(upstream.body)["data"] if upstream.status == 200 else None
            cards = {card["id"]: card for card in data} if isinstance(data, list) else None
        except (msgspec.DecodeError, TypeError, KeyError):
            return None
        if cards is None:
            return None
        for alias, name in self._aliases.items():
            if name in cards:
                cards[alias] = {**cards[name], "id": alias}
        return {name: card for name, card in cards.items() if self._shows(scope, name)}

    def _shows(self, scope: Scope, name: str) -> bool:
        """Whether the route and the caller may use it."""
        visible = self._visible(scope)
        return (self._allowed is None or name in self._allowed) and (visible is None or visible(name))


class _Collected:
    """A whole answer, kept until it is known what becomes of it."""

    def __init__(self) -> None:
        self._messages: list[Message] = []

    async def send(self, message: Message) -> None:
        self._messages.append(message)

    @property
    def status(self) -> int:
        return next((m["status"] for m in self._messages if m["type"] == "http.response.start"), 0)

    @property
    def body(self) -> bytes:
        return b"".join(m.get("body", b"") for m in self._messages if m["type"] == "http.response.body")

    async def replay(self, send: Send) -> None:
        for message in self._messages:
            await send(message)
