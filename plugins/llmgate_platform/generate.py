"""Generation: a prompt, and what follows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta, Struct

from llmgate.plugin.api import BadRequest, Reply, UpstreamFailed

from .shapes import Invalid, id_of, iso

if TYPE_CHECKING:
    from llmgate.plugin.api import Call, Clock

    from .models import Catalog
    from .serving.targets import TargetOf


class Generation(Struct, frozen=True):
    """Body of `POST /models/{id}/generate`. `max_length`: tokens after the prompt."""

    prompt: str
    temperature: Annotated[float, Meta(ge=0, le=2)] = 0.7
    max_length: Annotated[int, Meta(ge=1, le=2**31)] = 100
    top_p: Annotated[float, Meta(gt=0, le=1)] = 0.9
    top_k: Annotated[int, Meta(ge=0, le=2**31)] = 50
    seed: Annotated[int, Meta(ge=0, le=2**31)] | None = None
    stop: str | Annotated[list[str], Meta(max_length=16)] | None = None

    def __repr__(self) -> str:
        return "Generation(...)"


class Parameters(Struct, frozen=True):
    """What was asked for, defaults filled in."""

    temperature: float
    max_length: int
    top_p: float
    top_k: int


class Generated(Struct, frozen=True):
    """The prompt and what follows it, to the byte. `generation_time` in seconds."""

    text: str
    model_id: int
    model_name: str
    generation_time: float
    timestamp: str
    parameters: Parameters


class Generate:
    """The operation. `bound` is the most tokens that an answer of a model may have, if gate.toml says."""

    def __init__(
        self,
        catalog: Catalog,
        target_of: TargetOf,
        *,
        bound: Callable[[str], int | None],
        clock: Clock,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalog = catalog
        self._target_of = target_of
        self._bound = bound
        self._clock = clock
        self._timer = timer

    async def __call__(self, call: Call[Generation]) -> Reply:
        """Through the layers of the model's route, which count it."""
        wanted = call.body
        row, base = await self._catalog.usable(id_of(call), call.principal)
        if not wanted.prompt:
            raise BadRequest("Prompt is required")
        bound = self._bound(base.upstream)
        if bound is not None and wanted.max_length > bound:
            raise Invalid("max_length", f"at most {bound}")
        target = self._target_of(row, base)
        body: dict[str, Any] = {
            "prompt": wanted.prompt,
            "max_tokens": wanted.max_length,
            **target.sampling(temperature=wanted.temperature, top_p=wanted.top_p, top_k=wanted.top_k),
        }
        body |= {name: value for name in ("seed", "stop") if (value := getattr(wanted, name)) is not None}
        started = self._timer()
        answer = await target.complete(body, call.exchange, call.receive)
        took = self._timer() - started
        parameters = Parameters(wanted.temperature, wanted.max_length, wanted.top_p, wanted.top_k)
        text = wanted.prompt + text_of(answer)
        generated = Generated(text, row.id, row.name, round(took, 3), iso(self._clock()), parameters)
        return Reply(generated, 200)


def text_of(answer: dict[str, Any]) -> str:
    """The text of a completion. Raises `UpstreamFailed` where there is none."""
    try:
        text = answer["choices"][0]["text"]
    except (KeyError, IndexError, TypeError):
        text = None
    if not isinstance(text, str):
        raise UpstreamFailed("The model's server did not answer with a completion.")
    return text
