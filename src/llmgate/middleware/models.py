"""Which model a request means, and where it is served: the default, aliases, the route's list, the catalog."""

from __future__ import annotations

import random
from types import MappingProxyType
from typing import TYPE_CHECKING

from ..backends.catalog import order, unknown_model
from ..errors import BadRequest, Refusal, answer
from ..exchange import MAX_BODY, BodyLayer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from starlette.types import ASGIApp, Scope, Send

    from ..backends.catalog import Catalog
    from ..exchange import Exchange


class Models(BodyLayer):
    """Puts `default` where a request names no model and the real name where it names an alias.

    With a `catalog` the model decides where a request goes: its targets are put into the exchange, the first of them
    being the one that `busy` (requests in flight for each replica of an upstream) or their weights say. With
    `charges_asked` the request has the price of the model that was asked for, else of the one that answers.

    With `allowed`, any other name is refused with OpenAI's 404 `model_not_found`; the names in `allowed` are those
    that clients use. So is a model that is not `billable`, where that is given: of the charged name and the one
    that was asked for it says whether there is a price, or a quota, that could not be evaded by another name.
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
        draw: Callable[[], float] = random.random,
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
        self._draw = draw

    def see(self, exchange: Exchange, scope: Scope, send: Send) -> Awaitable[None]:
        """See `BodyLayer`."""
        assert exchange.model_request is not None, "it is read by now"
        try:
            name = self._name(exchange.model_request.model)
            if self._catalog is None:
                self._rename(exchange, name)
            else:
                self._route(exchange, self._catalog, name)
        except Refusal as refusal:
            return answer(scope, send, refusal)
        return self.go_on(exchange, scope, send)

    def _name(self, asked: str | None) -> str | None:
        name = asked or self._default
        if self._allowed is not None and name is None:
            raise BadRequest("body.model: name the model", param="model")
        if self._allowed is not None and name not in self._allowed:
            raise unknown_model(name or "", sorted(self._allowed))
        return name

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
            known = catalog.names()
            hint = f" The models here: {', '.join(known)}." if known else ""
            raise BadRequest(f"body.model: name the model.{hint}", param="model")
        resolution = catalog.resolve(name)
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
