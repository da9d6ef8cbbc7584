"""Where a model answers: the layers of its route, its name there, and what tells the engine which adapter is meant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import BadRequest, Exchange, Refusal, Unavailable, UpstreamFailed
from llmgate.plugin.kit.inner import Whole, post

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive

    from llmgate.plugin.api import RouteSettings

    from ..models import ModelRow
    from ..settings import ModelSettings

COMPLETIONS = "/v1/completions"
NOT_YET = "The model is not being served yet: try again in a few seconds"
REFUSED = "The model's server does not take this adapter: the operator finds why in the gate's log"

_TAKES_TOP_K = ("vllm", "llama_server", "llama_cpp_python", "ollama")


@dataclass(frozen=True, slots=True)
class Target:
    """`app` has the layers, `path` is the route's own for completions; `extra` goes into every body."""

    app: ASGIApp
    path: str
    model: str
    dialect: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    async def complete(self, body: Mapping[str, Any], exchange: Exchange, receive: Receive) -> dict[str, Any]:
        """What the engine completes. Raises `Refusal`, of the gate's layers or in place of the engine's errors."""
        answer = await post(
            self.app, self.path, {"model": self.model, **self.extra, **body}, exchange, receive
        )
        if answer.status == 200:
            return _object(answer)
        raise _refusal_of(answer)

    def sampling(self, *, temperature: float, top_p: float, top_k: int) -> dict[str, Any]:
        """The parameters as this engine knows them; its own defaults must not change what was asked for."""
        body: dict[str, Any] = {"temperature": temperature, "top_p": top_p}
        if self.dialect in _TAKES_TOP_K:
            body["top_k"] = top_k
        if self.dialect == "llama_server":
            body["min_p"] = 0
        return body


def base_target(app: ASGIApp, route: RouteSettings, base: ModelSettings, dialect: str) -> Target:
    """Where a model of gate.toml answers."""
    path = route.path.rstrip("/")
    suffix = COMPLETIONS if path == "" else COMPLETIONS.removeprefix("/v1")
    return Target(app, path + suffix, base.upstream_model, dialect)


TargetOf = Callable[["ModelRow", "ModelSettings"], Target]
"""Where a model answers now. Raises `Unavailable` where its adapter is not served (yet)."""


def _object(answer: Whole) -> dict[str, Any]:
    found = answer.json()
    if not isinstance(found, dict):
        raise UpstreamFailed("The model's server did not answer with a completion.")
    return found


def _refusal_of(answer: Whole) -> Refusal:
    try:
        error = _object(answer).get("error")
    except UpstreamFailed:
        error = None
    message = error.get("message") if isinstance(error, dict) else error
    match answer.status:
        case 404:
            return Unavailable(NOT_YET)
        case 400 | 413 | 422:
            return BadRequest(str(message) if message else "The model's server refuses this request.")
        case 429 | 503:
            return Unavailable("The model's server is too busy: try again later")
        case _:
            return UpstreamFailed("The model's server could not answer.")
