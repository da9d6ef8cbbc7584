"""The last word on every error: what a layer or an app raises becomes an answer, or a closed connection.

It stands in for Starlette's `ServerErrorMiddleware` and `ExceptionMiddleware`, whose answers have one shape and
which cannot break off an answer that has begun.
"""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from ..errors import (
    AnswerCut,
    BadRequest,
    ClientGone,
    Conflict,
    Forbidden,
    NotFound,
    PayloadTooLarge,
    Refusal,
    StoreError,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
    answer,
)
from ..exchange import exchange_of, sending

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger("llmgate")


_REFUSALS = MappingProxyType(
    {403: Forbidden, 404: NotFound, 409: Conflict, 413: PayloadTooLarge, 503: Unavailable}
)
"""The classes that tell a status of Starlette's."""


class Errors:
    """Answers a `Refusal` in the route's shape, as it does Starlette's `HTTPException`, a `StoreError` with 503,
    anything unforeseen with a bare 500.

    What went wrong stands in the log, next to the request's id. Nothing is appended to an answer that has
    begun: the app returns before its end, and the server closes the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        sent = sending(send)
        refused: Refusal
        try:
            await self.app(scope, receive, sent)
        except ClientGone:
            return
        except AnswerCut:  # perhaps before anything of it has gone out: a layer may hold back its beginning
            refused = UpstreamFailed("The upstream broke off its answer.")
        except Refusal as refusal:
            refused = refusal
        except HTTPException as error:
            refused = _refusal_of(error)
        except StoreError as error:
            log.warning("request %s: the store: %s", exchange_of(scope).id, error)
            refused = Unavailable("The store does not answer at the moment. Try again later.")
        except Exception:
            log.exception("request %s failed", exchange_of(scope).id)
            refused = Refusal("Something went wrong in the gate. Its log says what, under the request's id.")
        else:
            return
        if not sent.begun:
            await answer(scope, sent, refused)


def _refusal_of(error: HTTPException) -> Refusal:
    headers = [(name.lower().encode(), value.encode()) for name, value in (error.headers or {}).items()]
    status, message = error.status_code, error.detail
    if status == 401:
        return Unauthenticated(message, headers=headers)
    kind = _REFUSALS.get(status, BadRequest if status < 500 else Refusal)
    return kind(message, status=status, headers=headers)
