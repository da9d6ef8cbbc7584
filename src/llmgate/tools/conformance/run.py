"""Asking both sides, as often as it takes to tell a difference from a backend that varies by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from ...backends.model_cards import cards_of
from ...errors import ConfigError
from ...proxy.engines.base import Engine, Origin, Timeouts, UpstreamError, UpstreamRequest
from .compare import Answer, added, differences

if TYPE_CHECKING:
    from .cases import Case

ROUNDS = 3
TIMEOUTS = Timeouts(connect=5.0, first_byte=120.0, idle=60.0)


class Verdict(StrEnum):
    """What became of a case."""

    SAME = "same"
    OWN = "own"
    """The gate answered itself, as it should."""
    UNSTEADY = "unsteady"
    """The backend varies by itself, and no two answers were the same."""
    DIFFERS = "differs"


@dataclass(frozen=True, slots=True)
class Finding:
    """The verdict on a case, with what differed, or why the gate answered itself."""

    name: str
    verdict: Verdict
    differences: list[str]
    why: str = ""
    added: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Target:
    """A server to ask, with the key that it wants, if any."""

    origin: Origin
    key: str | None = None

    async def model_request(self, engine: Engine, case: Case, model: str) -> Answer:
        """The whole answer to `case`. Raises `UpstreamError` if there is none."""
        headers = list(case.headers)
        if self.key is not None:
            headers.append((b"authorization", f"Bearer {self.key}".encode()))
        content = case.content(model)
        body = _whole(content) if case.chunked else content
        request = UpstreamRequest(case.method, case.target(model), headers, body)
        response = await engine.send(self.origin, request, TIMEOUTS)
        names = tuple((name.lower(), value) for name, value in response.headers)
        pieces, cut = [], False
        try:
            while piece := await response.read():
                pieces.append(piece)
        except UpstreamError:
            cut = True
        return Answer(response.status, names, b"".join(pieces), cut)


async def examine(engine: Engine, backend: Target, gate: Target, case: Case, model: str) -> Finding:
    """Ask the backend and the gate in turn until they agree, at most three times.

    What a backend keeps of earlier requests (a prompt it has cached) and how it cuts a stream vary from
    answer to answer, so that any two answers that are the same are proof enough.
    """
    direct: list[Answer] = []
    through: list[Answer] = []
    for _ in range(ROUNDS):
        direct.append(await backend.model_request(engine, case, model))
        through.append(await gate.model_request(engine, case, model))
        for one in direct:
            for other in through:
                if not differences(one, other):
                    return Finding(case.name, Verdict.SAME, [], added=frozenset(added(one, other)))
        if case.own is not None and through[-1].status == case.own.status:
            return Finding(case.name, Verdict.OWN, [], case.own.why)
    steady = all(not differences(direct[0], other) for other in direct[1:])
    verdict = Verdict.DIFFERS if steady else Verdict.UNSTEADY
    return Finding(case.name, verdict, differences(direct[-1], through[-1]))


async def first_model(engine: Engine, backend: Target) -> str:
    """The first model that the backend lists. Raises `ConfigError` if it lists none."""
    headers = [] if backend.key is None else [(b"authorization", f"Bearer {backend.key}".encode())]
    response = await engine.send(backend.origin, UpstreamRequest("GET", b"/v1/models", headers), TIMEOUTS)
    body = b""
    while piece := await response.read():
        body += piece
    try:
        return str(cards_of(body)[0]["id"])
    except (ValueError, IndexError) as error:
        where = f"{backend.origin.url}/v1/models: status {response.status}, and no list of models"
        raise ConfigError([f"{where}: name one with --model"]) from error


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
