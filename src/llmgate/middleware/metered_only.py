"""Where everything is let through, what makes a model work unseen is not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from ..backends.endpoint import Endpoint
from ..backends.request import endpoint_of
from ..errors import NotFound, answer
from ..exchange import StackLayer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

HARMLESS: Final = frozenset({"GET", "HEAD", "OPTIONS", "DELETE"})
"""Methods that make no model work."""
STORED: Final = re.compile(
    r".*/(?:chat/+completions|conversations|threads)(?:/.*)?", re.DOTALL | re.IGNORECASE
)
"""Paths by which what a backend has stored for all callers is read, whoever it was made for (see `StoredResponses`)."""
FREE: Final = re.compile(
    r".*/(?:messages/count_tokens|tokenize|detokenize|apply-template|responses/[^/]+/cancel)/*", re.DOTALL
)
"""Paths whose POST uses no tokens."""


class MeteredOnly(StackLayer):
    """Refuses operations that nobody could count: a POST whose endpoint is not known, however it is spelled; and those
    by which callers would read what others have had stored.

    For routes whose `allow` has "*", next to layers that count. `named` are the ends of paths that the operator
    lets through by name, as patterns.
    """

    def __init__(self, app: ASGIApp, *, named: Collection[str] = ()) -> None:
        self.app = app
        self.collects_edits = getattr(app, "collects_edits", False)
        self._named = re.compile("|".join(f"(?:{pattern})" for pattern in named) or "(?!)")

    def within_stack(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """ASGI; at once what the app itself returns."""
        if scope["type"] == "http" and not self._lets_through(scope["method"], scope["path"]):
            why = "opens what others have stored" if scope["method"] in HARMLESS else "is not metered"
            message = (
                f"{scope['method']} {scope['path']} {why}, so it does not pass here; "
                "the gate's operator can name it in `allow` of this route."
            )
            return answer(scope, send, NotFound(message))
        return self.app(scope, receive, send)

    def _lets_through(self, method: str, path: str) -> bool:
        if endpoint_of(method, path) is not Endpoint.OTHER or method == "OPTIONS":
            return True
        if method in HARMLESS and STORED.fullmatch(path) is None:
            return True
        return FREE.fullmatch(path) is not None or self._named.fullmatch(path) is not None
