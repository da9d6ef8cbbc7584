"""What is measured of a request, and what stands in the access log."""

import asyncio
import io
from collections.abc import Callable

import msgspec
import pytest
from playbook import Answers, play
from prometheus_client import generate_latest
from starlette.types import Receive, Scope, Send

from llmgate.exchange import Exchange, Principal
from llmgate.middleware import Metrics
from llmgate.observability.access_log import AccessLog
from llmgate.observability.metrics import Instruments
from llmgate.usage.model import Certainty, Reading, Usage


class Ticks:
    """A timer that is one second later each time it is asked."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def lines(instruments: Instruments, start: str) -> list[str]:
    """The samples whose line starts with `start`, but for zeroes."""
    text = generate_latest(instruments.registry).decode().splitlines()
    return [
        line
        for line in text
        if line.startswith(start) and not line.endswith(" 0.0") and "_created" not in line
    ]


async def measure(
    app: Callable[..., object], exchange: Exchange | None = None, **how: object
) -> tuple[Instruments, Exchange]:
    instruments = Instruments()
    instruments._models = frozenset({"small"})
    exchange = exchange or Exchange("1", 0.0, route="chat")
    await asyncio.gather(
        play(Metrics(app, instruments=instruments, timer=Ticks(), **how), llmgate=exchange),
        return_exceptions=True,
    )
    return instruments, exchange


async def test_a_request_is_counted_by_what_it_was_and_how_it_was_answered() -> None:
    exchange = Exchange("1", 0.0, route="chat", upstream="vllm", model="small")
    exchange.reading = Reading(Usage(5, 7), Certainty.EXACT)
    instruments, _ = await measure(Answers([b"a", b"b", b"c"]), exchange)
    assert lines(instruments, "llmgate_requests_total") == [
        'llmgate_requests_total{model="small",route="chat",status="2xx",upstream="vllm"} 1.0'
    ]
    assert {line.rpartition(" ")[2] for line in lines(instruments, "llmgate_tokens_total")} == {"5.0", "7.0"}
    assert lines(instruments, "llmgate_request_duration_seconds_sum") == [
        'llmgate_request_duration_seconds_sum{route="chat"} 4.0'
    ]
    assert lines(instruments, "llmgate_first_byte_seconds_sum")[0].endswith(" 1.0")
    assert lines(instruments, "llmgate_chunk_gap_seconds_count") == [
        'llmgate_chunk_gap_seconds_count{route="chat"} 2.0'
    ]


@pytest.mark.parametrize(
    ("model", "label"), [("small", "small"), ("", "-"), ("made up by a client", "other")]
)
async def test_a_model_that_gate_toml_does_not_name_has_no_label_of_its_own(model: str, label: str) -> None:
    instruments, _ = await measure(Answers(), Exchange("1", 0.0, route="chat", model=model))
    assert f'model="{label}"' in lines(instruments, "llmgate_requests_total")[0]


def says(*messages: dict[str, object], then: BaseException | None = None) -> Callable[..., object]:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if then is not None:
            raise then

    return app


START = {"type": "http.response.start", "status": 503, "headers": []}
PIECE = {"type": "http.response.body", "body": b"x", "more_body": True}
LAST = {"type": "http.response.body", "body": b"x"}


@pytest.mark.parametrize(
    ("app", "status"),
    [
        (says(START, PIECE, LAST), "5xx"),
        (says(START, PIECE), "cut"),
        (says(START, PIECE, then=RuntimeError()), "cut"),
        (says(), "none"),
        (says(then=asyncio.CancelledError()), "none"),
    ],
)
async def test_however_a_request_ends_it_is_counted_and_none_stays_in_flight(
    app: Callable[..., object], status: str
) -> None:
    instruments, _ = await measure(app)
    assert f'status="{status}"' in lines(instruments, "llmgate_requests_total")[0]
    assert lines(instruments, "llmgate_requests_in_flight") == []


async def test_a_refusal_is_counted_by_its_reason() -> None:
    exchange = Exchange("1", 0.0, route="chat", refused="rate_limit")
    instruments, _ = await measure(Answers(status=429), exchange)
    assert lines(instruments, "llmgate_refused_total")[0].endswith(" 1.0")
    assert 'reason="rate_limit"' in lines(instruments, "llmgate_refused_total")[0]


async def test_the_access_log_has_a_line_of_ids_and_numbers() -> None:
    out = io.BytesIO()
    exchange = Exchange("id-1", 0.0, route="chat", upstream="vllm", model="small")
    exchange.principal = Principal(1, "ann", key_id=7)
    exchange.reading = Reading(Usage(5, 7), Certainty.EXACT)
    await measure(Answers(), exchange, access_log=AccessLog(out, clock=lambda: 1_800_000_000.25))
    assert msgspec.json.decode(out.getvalue()) == {
        "at": 1_800_000_000.25,
        "request_id": "id-1",
        "route": "chat",
        "method": "GET",
        "path": "/",
        "status": 200,
        "duration": 2.0,
        "first_byte": 1.0,
        "user_id": 1,
        "key_id": 7,
        "upstream": "vllm",
        "model": "small",
        "input_tokens": 5,
        "output_tokens": 7,
        "certainty": "exact",
        "client": "192.0.2.1",
    }


async def test_a_line_says_when_the_answer_broke_off() -> None:
    out = io.BytesIO()
    await measure(says(START, PIECE), access_log=AccessLog(out))
    assert msgspec.json.decode(out.getvalue())["complete"] is False
