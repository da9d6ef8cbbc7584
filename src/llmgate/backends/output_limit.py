"""How a request bounds its output, as its backend reads that, and how a lower bound is written into it."""

from __future__ import annotations

from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from .endpoint import Endpoint

if TYPE_CHECKING:
    from .dialect import Dialect
    from .request import ModelRequest

_OBEYED = MappingProxyType(
    {
        Endpoint.COMPLETIONS: ("max_tokens",),
        Endpoint.MESSAGES: ("max_tokens",),
        Endpoint.RESPONSES: ("max_output_tokens",),
    }
)


def output_bound(dialect: Dialect, model_request: ModelRequest) -> int | None:
    """Tokens that each choice may have by the request's own words; None where they bound nothing.

    Of several fields a backend obeys one, and which is not known: the highest counts, and one that this
    backend obeys has to be there. A limit of 0 that is one lets a token through (llama.cpp's server).
    """
    limits = model_request.limits
    if not limits or limits.keys().isdisjoint(_obeyed(dialect, model_request.endpoint)):
        return None
    if not dialect.no_limit.isdisjoint(limits.values()):
        return None
    return max(1, *limits.values())


def limit(dialect: Dialect, model_request: ModelRequest, most: int) -> dict[str, object]:
    """The changes for `rewrite` that stop every choice after `most` tokens; {} if the body says so already.

    Every limit given that is higher, or that is none, comes down, since backends differ in which of two they
    obey; where none is given that this backend obeys (llama_cpp/chat_mct.txt), the one it does is added.
    """
    most = max(most, 1 if 0 in dialect.no_limit else 0)
    limits, obeyed = model_request.limits, _obeyed(dialect, model_request.endpoint)
    changes: dict[str, object] = {}
    for name, number in limits.items():
        if number > most or number in dialect.no_limit:
            changes[name] = most
    if obeyed and limits.keys().isdisjoint(obeyed):
        changes[obeyed[0]] = most
    return changes


@lru_cache(256)
def _obeyed(dialect: Dialect, endpoint: Endpoint) -> tuple[str, ...]:
    if endpoint is Endpoint.CHAT:
        return dialect.chat_limits + dialect.own_limits
    common = _OBEYED.get(endpoint, ())
    # llama.cpp's server makes a chat of a message, and of its limits takes only that of the API over.
    return common if not common or endpoint is Endpoint.MESSAGES else common + dialect.own_limits
