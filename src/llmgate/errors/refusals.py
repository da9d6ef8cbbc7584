"""Every error llmgate raises on purpose, in one shallow tree.

    GateError
    ├── ConfigError          gate.toml cannot be used: carries every problem found, each with its place
    ├── StoreError           the database did not do what it was asked
    ├── AnswerCut            an answer that has begun must not look finished
    └── Refusal              a request that is answered here instead of upstream: status, type, code, reason
        ├── BadRequest       400  the request cannot be read
        ├── Unauthenticated  401  no credential, or one that is not good
        ├── QuotaExhausted   402  or 429, by the route's dialect: nothing left to spend
        │   └── QuotaHeld    429  running requests hold what is left: come back after `Retry-After`
        ├── Forbidden        403
        ├── NotFound         404
        ├── MethodNotAllowed 405  there is such a thing, but not for this method
        ├── Conflict         409
        ├── PayloadTooLarge  413
        ├── UnsupportedMediaType 415
        ├── RateLimited      429  come back after `Retry-After`
        ├── UpstreamFailed   502, 503 or 504: no replica could answer
        └── Unavailable      503  the gate itself cannot serve now (the store is away, it is shutting down)

A layer that has to refuse a request sends the refusal itself, by `answer`, in the shape that the
request's route speaks (`Exchange.error_shape`); OpenAI's shape where nobody said otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

Header = tuple[bytes, bytes]


class GateError(Exception):
    """Anything llmgate raises on purpose."""


class ConfigError(GateError):
    """gate.toml cannot be used. `problems` holds one line for each thing found, `file: place: what, remedy`."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


def extra_remedy(extra: str) -> str:
    """How the packages of an extra are installed: from a checkout, since the package index has no llmgate of ours."""
    return f"run `pip install '.[{extra}]'` in a checkout of llmgate"


class StoreError(GateError):
    """The store did not do what it was asked: it is away, locked, full, or behind on migrations."""


class ClientGone(Exception):
    """The client went away before it had its answer: nobody is left to be told anything."""


class AnswerCut(GateError):
    """An answer that has begun cannot be finished: the client's connection must end without a proper end.

    An ASGI server closes the connection of an answer whose app returns before its end (uvicorn, hypercorn).
    """


class Refusal(GateError):
    """A request that the gate answers itself.

    `message` is for the caller; `code` and `param` are OpenAI's fields; `reason` is the label under which
    the refusal is counted in the metrics (a closed set: the class's own); `headers` go out with the answer.
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"
    code: ClassVar[str | None] = None
    reason: ClassVar[str] = "internal"

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        param: str | None = None,
        headers: Iterable[Header] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.headers = list(headers)
        self.answer_status = status if status is not None else type(self).status
        self.answer_code = code if code is not None else type(self).code


class BadRequest(Refusal):
    """The request cannot be read or breaks a rule of its endpoint."""

    status = 400
    type = "invalid_request_error"
    reason = "bad_request"


class Unauthenticated(Refusal):
    """No credential where one is needed, or one that is wrong, expired or revoked.

    `foreign`: it is none that this gate has ever given out, so that another beside it may be good.
    """

    status = 401
    type = "authentication_error"
    code = "invalid_api_key"
    reason = "unauthenticated"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        headers: Iterable[Header] = (),
        foreign: bool = False,
    ) -> None:
        super().__init__(message, code=code, headers=[(b"www-authenticate", b"Bearer"), *headers])
        self.foreign = foreign


class QuotaExhausted(Refusal):
    """Nothing left to spend. Never looks like a rate limit: no Retry-After, and clients are told not to retry.

    Of the quota that is short: its `unit` ("tokens", "requests", "money"), and what was `used` of its `limit`.
    """

    status = 402
    type = "insufficient_quota"
    code = "insufficient_quota"
    reason = "quota"

    def __init__(
        self, message: str, *, status: int | None = None, unit: str = "", used: int = 0, limit: int = 0
    ) -> None:
        super().__init__(message, status=status, headers=[(b"x-should-retry", b"false")])
        self.unit = unit
        self.used = used
        self.limit = limit


class QuotaHeld(QuotaExhausted):
    """What is left is held by requests that are under way: it may fit in a moment, unlike what is spent."""

    status = 429
    type = "rate_limit_error"
    code = "quota_held"
    reason = "quota"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.headers = [(b"retry-after", b"%d" % retry_after)]
        self.retry_after = retry_after


class Forbidden(Refusal):
    """Known, but not allowed."""

    status = 403
    type = "permission_error"
    code = "forbidden"
    reason = "forbidden"


class NotFound(Refusal):
    """There is no such thing, or the route does not let it through."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"
    reason = "not_found"


class MethodNotAllowed(Refusal):
    """The path is there, but not for this method; `allowed` are those that it takes (RFC 9110 15.5.6)."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_allowed"
    reason = "not_found"

    def __init__(self, message: str, *, allowed: Iterable[str]) -> None:
        super().__init__(message, headers=[(b"allow", ", ".join(sorted(allowed)).encode())])


class Conflict(Refusal):
    """What was asked for contradicts what is there."""

    status = 409
    type = "invalid_request_error"
    code = "conflict"
    reason = "conflict"


class PayloadTooLarge(Refusal):
    """The body is over the route's limit."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"
    reason = "too_large"


class UnsupportedMediaType(Refusal):
    """The body is of a media type that is not read here (RFC 9110, 15.5.16)."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_media_type"
    reason = "bad_request"


class RateLimited(Refusal):
    """Too much, too fast; `retry_after` says in how many whole seconds the window has room again."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"
    reason = "rate_limit"

    def __init__(self, message: str, *, retry_after: int, headers: Iterable[Header] = ()) -> None:
        super().__init__(message, headers=[(b"retry-after", b"%d" % retry_after), *headers])
        self.retry_after = retry_after


class UpstreamFailed(Refusal):
    """No replica could answer: 502 refused or broken, 503 none available, 504 too slow."""

    status = 502
    type = "api_error"
    code = "upstream_error"
    reason = "upstream"


class Unavailable(Refusal):
    """The gate itself cannot serve this now."""

    status = 503
    type = "api_error"
    code = "unavailable"
    reason = "unavailable"
