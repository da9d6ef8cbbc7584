"""The address of the models, with LiteLLM's habits: with and without `/v1`, its `/model/info`, its budget error."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from llmgate.plugin.api import (
    Answer,
    QuotaExhausted,
    QuotaHeld,
    Refusal,
    Reply,
    Unit,
    UpstreamFailed,
    answer,
    exchange_of,
    openai_shape,
)

from .settings import ModelFacts

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from starlette.types import Message, Receive, Scope, Send

    from llmgate.plugin.api import AnyCall, Prices

    from .region_backends import RegionBackends

API = "/v1"
LARGEST_LIST = 16 * 1024 * 1024

_MODES = MappingProxyType(
    {
        "embedding": re.compile(r"embed|\bbge\b|\be5\b|gte-", re.IGNORECASE),
        "audio_transcription": re.compile(r"whisper|transcri", re.IGNORECASE),
        "audio_speech": re.compile(r"\btts\b", re.IGNORECASE),
        "image_generation": re.compile(r"dall-e|image|flux|diffusion|imagen", re.IGNORECASE),
        "rerank": re.compile(r"rerank", re.IGNORECASE),
    }
)
"""What a model is for, by its name; the others chat."""

_PARAMETERS: Mapping[str, list[str]] = MappingProxyType(
    {
        "chat": [
            *("frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "n"),
            *("parallel_tool_calls", "presence_penalty", "response_format", "seed", "stop", "stream"),
            *("stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user"),
        ],
        "embedding": ["dimensions", "encoding_format", "user"],
    }
)


class InRegion:
    """Sends a request to the models of its key's region; the app of each operation that asks models."""

    def __init__(self, backends: RegionBackends, *, prefix: str) -> None:
        self._backends = backends
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        principal = exchange_of(scope).principal
        try:
            app = await self._backends.app_of(None if principal is None else principal.key_id)
        except Refusal as refusal:
            await answer(scope, send, refusal)
            return
        await app(with_api(scope, self._prefix), receive, send)


def with_api(scope: Scope, prefix: str) -> Scope:
    """`scope` with the path that backends know: below `/v1`, whatever was asked."""
    changed: MutableMapping[str, Any] = dict(scope)
    for name, empty in (("path", ""), ("raw_path", b"")):
        if name not in scope or scope[name] is None:
            continue
        api: Any = API if isinstance(empty, str) else API.encode()
        rest = scope[name].removeprefix(prefix if isinstance(empty, str) else prefix.encode())
        changed[name] = rest if rest.startswith((api + api[:1],)) else api + rest
    return changed


class ModelInfo:
    """`GET /model/info`: which models a key may ask, and what each can do."""

    def __init__(self, backends: RegionBackends, prices: Prices, facts: Mapping[str, ModelFacts]) -> None:
        self._backends = backends
        self._prices = prices
        self._facts = facts

    async def __call__(self, call: AnyCall) -> dict[str, Any]:
        """As LiteLLM has it. Raises `UpstreamFailed` where the region's models cannot be listed."""
        app = await self._backends.app_of(call.principal.key_id)
        names = await _names(app, call.scope)
        return {"data": [self._describe(name) for name in names]}

    def _describe(self, name: str) -> dict[str, Any]:
        facts = self._facts.get(name, ModelFacts())
        mode = facts.mode or mode_of(name)
        price, chats = self._prices.of(name), mode == "chat"
        info = {
            "id": name,
            "mode": mode,
            "supports_vision": facts.supports_vision or False,
            "supports_function_calling": _or(facts.supports_function_calling, chats),
            "supports_tool_choice": _or(facts.supports_tool_choice, chats),
            "supports_response_schema": _or(facts.supports_response_schema, chats),
            "supported_openai_params": _PARAMETERS.get(mode, []),
            "max_tokens": facts.max_tokens,
            "input_cost_per_token": price.input / 1e6,
            "output_cost_per_token": price.output / 1e6,
        }
        return {"model_name": name, "litellm_params": {"model": name}, "model_info": info}


def mode_of(name: str) -> str:
    """What a model of this name is for, in LiteLLM's words."""
    return next((mode for mode, pattern in _MODES.items() if pattern.search(name)), "chat")


async def alive(_: AnyCall) -> Reply:
    """`GET /health/liveliness`: this process answers."""
    return Reply("I'm alive!", 200)


def litellm_shape(refusal: Refusal) -> Answer:
    """OpenAI's errors; a spent budget in the words that clients look for."""
    if isinstance(refusal, QuotaHeld):  # nothing is spent: running requests hold it
        return openai_shape(refusal)
    if isinstance(refusal, QuotaExhausted) and refusal.unit == Unit.MONEY:
        used, limit = refusal.used / 1e6, refusal.limit / 1e6
        error = {
            "message": f"Budget has been exceeded! Current cost: {used:g}, Max budget: {limit:g}",
            "type": "budget_exceeded",
            "param": None,
            "code": "budget_exceeded",
        }
        status, headers, _ = openai_shape(refusal)
        return status, headers, msgspec.json.encode({"error": error})
    return openai_shape(refusal)


async def _names(app: Any, scope: Scope) -> list[str]:
    """The models that a region lists, asked through its own layers."""
    status, pieces = 0, bytearray()

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            pieces.extend(message.get("body", b"")[: LARGEST_LIST - len(pieces)])

    listing = {**scope, "path": f"{API}/models", "raw_path": f"{API}/models".encode(), "query_string": b""}
    await app(listing, receive, send)
    try:
        listed = msgspec.json.decode(bytes(pieces), type=_List)
    except msgspec.MsgspecError as error:
        raise UpstreamFailed("The models of this region cannot be listed at the moment.") from error
    if status != 200:
        raise UpstreamFailed("The models of this region cannot be listed at the moment.")
    return [card.id for card in listed.data or ()]


class _Card(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Card] | None = None


def _or(told: bool | None, default: bool) -> bool:
    return default if told is None else told
