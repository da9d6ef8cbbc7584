"""Which model a request means, and where it is served: the default, aliases, the route's list, the catalog."""

from __future__ import annotations

import random
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from ..backends.catalog import order, unknown_model
from ..errors import BadRequest, NotFound, Refusal, answer
from ..exchange import MAX_BODY, BodyLayer
from ..exchange.body import LONGEST_NAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from starlette.types import ASGIApp, Scope, Send

    from ..backends.catalog import Catalog
    from ..backends.request import ModelRequest
    from ..exchange import Exchange, Principal


OTHERS: Final = ("models", "fallbacks")
"""Fields in which OpenRouter and LiteLLM take other models."""
_IN_PATH = re.compile(r"/(?:engines|deployments|models)/[^/]+/", re.IGNORECASE)
_NONE = frozenset({b"null", b"[]"})


class Models(BodyLayer):
    """Puts `default` where a request names no model and the real name where it names an alias.

    With a `catalog` the model decides where a request goes: its targets are put into the exchange, the first of them
    being the one that `busy` (requests in flight for each replica of an upstream) or their weights say. With
    `charges_asked` the request has the price of the model that was asked for, else of the one that answers.

    With `allowed`, any other name is refused with OpenAI's 404 `model_not_found`; the names in `allowed` are those
    that clients use. So is a model that is not `billable`, where that is given: of the charged name and the one
    that was asked for it says whether there is a price, or a quota, that could not be evaded by another name. Where
    names count (`by_name`: they have prices, say), a request names one model alone, and none in its path below
    `prefix`, the route's own.

    Who is held to some models is told of these alone. A key that names end users does so in `end_user_header`, which
    goes no further, or in OpenAI's field `user`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        default: str | None = None,
        aliases: Mapping[str, str] = MappingProxyType({}),
        allowed: Collection[str] | None = None,
        catalog: Catalog | None = None,
        busy: Callable[[str], float] = lambda _: 0.0,
        charges_asked: bool = False,
        billable: Callable[[str, str], bool] | None = None,
        by_name: bool = False,
        prefix: str = "",
        draw: Callable[[], float] = random.random,
        end_user_header: str | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        super().__init__(app, max_body=max_body)
        self._default = default
        self._aliases = dict(aliases)
        self._allowed = None if allowed is None else frozenset(allowed)
        self._catalog = catalog
        self._busy = busy
        self._charges_asked = charges_asked
        self._billable = billable
        self._prefix = prefix.rstrip("/")
        self._by_name = by_name or billable is not None or allowed is not None or catalog is not None
        self._draw = draw
        self._end_user_header = None if end_user_header is None else end_user_header.lower().encode()

    def see(self, exchange: Exchange, scope: Scope, send: Send) -> Awaitable[None]:
        """See `BodyLayer`."""
        assert exchange.model_request is not None, "it is read by now"
        try:
            principal = exchange.principal
            if self._by_name or _held(principal):
                _refuse_others(exchange.model_request, scope["path"].removeprefix(self._prefix))
            name = self._name(exchange.model_request.model, principal if _held(principal) else None)
            if self._catalog is None:
                self._rename(exchange, name)
            else:
                self._route(exchange, self._catalog, name)
            if principal is not None and principal.key_may is not None and principal.key_may.names_end_users:
                scope = self._name_end_user(scope, exchange)
        except Refusal as refusal:
            return answer(scope, send, refusal)
        return self.go_on(exchange, scope, send)

    def _name(self, asked: str | None, held: Principal | None) -> str | None:
        """The name that is asked for. `held` is who makes the request, if not every model may be asked for."""
        name = asked or self._default
        if name is None and (self._allowed is not None or held is not None):
            raise BadRequest("body.model: name the model", param="model")
        if self._allowed is not None and name not in self._allowed:
            raise unknown_model(name or "", self._known(held))
        if (
            held is not None
            and name is not None
            and not held.may_ask(name)
            and not held.may_ask(self._public(name))
        ):
            raise unknown_model(name, self._known(held))
        return name

    def _public(self, name: str) -> str:
        """What an alias of gate.toml's [[models]] stands for."""
        return name if self._catalog is None else self._catalog.public_name(name)

    def _known(self, held: Principal | None) -> list[str]:
        """What may be asked for instead."""
        names = sorted(self._allowed) if self._allowed is not None else []
        if self._allowed is None and self._catalog is not None:
            names = self._catalog.names()
        return [name for name in names if held is None or held.may_ask(name)]

    def _name_end_user(self, scope: Scope, exchange: Exchange) -> Scope:
        """Note for whom a key that acts for others has sent this: the header's word, else the body's `user`."""
        header, given = self._end_user_header, None
        if header is not None:
            given = next((value for name, value in scope["headers"] if name == header), None)
        if given is not None:
            exchange.end_user = _end_user(given.decode("latin-1").strip())
            return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != header]}
        assert exchange.model_request is not None, "it is read by now"
        exchange.end_user = _end_user(exchange.model_request.text_of("user") or "")
        return scope

    def _rename(self, exchange: Exchange, name: str | None) -> None:
        """The route has one upstream: an alias becomes the name that it has there."""
        real = name if name is None else self._aliases.get(name, name)
        if real is not None:
            self._refuse_unbillable(name or "", name or "" if self._charges_asked else real)
            assert exchange.model_request is not None, "it is read by now"
            if real != exchange.model_request.model:
                exchange.edit({"model": real})
        exchange.asked = name or ""
        exchange.model = exchange.answering = real or ""
        if self._charges_asked and name:
            exchange.model = name

    def _route(self, exchange: Exchange, catalog: Catalog, name: str | None) -> None:
        """The model decides where the request goes."""
        if name is None:
            known = self._known(None)
            hint = f" The models here: {', '.join(known)}." if known else ""
            raise BadRequest(f"body.model: name the model.{hint}", param="model")
        principal = exchange.principal
        try:
            resolution = catalog.resolve(name)
        except NotFound:
            if not _held(principal):
                raise
            raise unknown_model(name, self._known(principal)) from None
        targets = order(resolution, busy=self._busy, random=self._draw)
        for target in targets:
            self._refuse_unbillable(name, resolution.name if self._charges_asked else target.model)
        exchange.asked, exchange.charges_asked = resolution.name, self._charges_asked
        exchange.targets, exchange.fallback_on = targets, resolution.fallback_on
        exchange.model = resolution.name
        exchange.answers_with(targets[0])

    def _refuse_unbillable(self, asked: str, charged: str) -> None:
        if self._billable is not None and not self._billable(charged, asked):
            raise unknown_model(asked, ())


def _refuse_others(request: ModelRequest, path: str) -> None:
    """Raise `BadRequest` for models that are named beside `model`: in a path that obeys no body (Azure's deployments),
    or in fields by which upstreams ask others where it fails.
    """
    if (found := _IN_PATH.search(path)) is not None:
        raise BadRequest(f"{found[0]} names a model in the path; name it in `model` alone", param="model")
    for name in OTHERS:
        if bytes(request.fields.get(name, b"null")) not in _NONE:
            raise BadRequest(f"body.{name}: name one model, in `model`", param=name)


def _held(principal: Principal | None) -> bool:
    return principal is not None and principal.held_to_models


def _end_user(name: str) -> str:
    if len(name) > LONGEST_NAME or not name.isprintable():
        raise BadRequest(f"user: expected at most {LONGEST_NAME} printable characters", param="user")
    return name
