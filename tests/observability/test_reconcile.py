"""The ledger against what the backends count themselves."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from stores import Clock, clock, migrated_file, migrated_postgres, sqlite_url, store, store_url

from llmgate.backends.dialect import DIALECTS
from llmgate.config import Config, Upstream, load
from llmgate.errors import UpstreamFailed
from llmgate.ledger import Reports, UsageRecord
from llmgate.observability.reconcile import Tokens, comparable, compare, next_window, read_counters
from llmgate.proxy.engines.httpx_engine import HttpxEngine
from llmgate.proxy.upstreams import Upstream as Served
from llmgate.store import Store
from llmgate.store.schema import usage

__all__ = ["clock", "migrated_file", "migrated_postgres", "sqlite_url", "store", "store_url"]

CAPTURES = Path(__file__).parent.parent / "data" / "captures"


def settings(dialect: str = "llama_server", *urls: str) -> Upstream:
    return Upstream(urls=urls or ("http://one",), dialect=dialect)


def said(text: str, status: int = 200) -> httpx.Response:
    return httpx.Response(status, stream=httpx.ByteStream(text.encode()))


def served(transport: httpx.MockTransport, *urls: str, dialect: str = "llama_server") -> Served:
    """An upstream that `transport` answers for."""
    engine = HttpxEngine(httpx.AsyncClient(transport=transport))
    return Served("up", urls or ["http://one"], engine=engine, dialect=DIALECTS[dialect])


def backend(counters: Iterator[dict[str, tuple[int, int, int]]]) -> httpx.MockTransport:
    """What answers so that each host's metrics are the next in `counters`: prompt, cached, generated."""
    current: dict[str, tuple[int, int, int]] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal current
        if request.url.host not in current:
            current = dict(next(counters))
        prompt, cached, output = current.pop(request.url.host)
        text = f"llamacpp:prompt_tokens_total {prompt}\nllamacpp:prompt_tokens_cached_total {cached}\n"
        return said(f"{text}llamacpp:tokens_predicted_total {output}\n")

    return httpx.MockTransport(answer)


async def settle(store: Store, at: float, input_tokens: int, output_tokens: int, *, choices: int = 1) -> None:
    names = {"surface": "", "route": "/v1", "upstream": "up", "model": "m", "endpoint": "chat"}
    counts = {"cached_tokens": 0, "reasoning_tokens": 0, "cost": 0, "status": 200, "duration": 0.1}
    record = UsageRecord(
        request_id=f"r{at}",
        at=at,
        user_id=None,
        key_id=None,
        organization_id=None,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        certainty="exact",
        outcome="finished",
        first_byte=None,
        choices=choices,
        **names,
        **counts,
    )
    async with store.begin() as db:
        await db.execute(
            usage.insert().values(
                {c.name: getattr(record, c.name) for c in usage.columns if hasattr(record, c.name)}
            )
        )


def body(capture: str) -> str:
    return (CAPTURES / capture).read_bytes().partition(b"\r\n\r\n")[2].decode()


def test_counters_are_found_in_what_llama_server_answers() -> None:
    text = body("llama_server/metrics.txt")
    assert read_counters(text, DIALECTS["llama_server"]) == Tokens(37, 16)


def test_counters_are_found_in_what_vllm_answers() -> None:
    text = (CAPTURES / "vllm" / "metrics_after.txt").read_text()
    assert read_counters(text, DIALECTS["vllm"]) == Tokens(577, 3871)


@pytest.mark.parametrize("text", ["", "llamacpp:prompt_tokens_total 1\n", "<html>", "a{b 1\n"])
def test_metrics_without_the_counters_are_refused(text: str) -> None:
    with pytest.raises(UpstreamFailed):
        read_counters(text, DIALECTS["llama_server"])


async def test_a_window_counts_what_both_sides_counted_in_it(store: Store, clock: Clock) -> None:
    """Cached tokens are a part of the prompt; replicas are added up; what is older does not count."""
    answers = backend(
        iter([{"one": (100, 0, 10), "two": (5, 5, 5)}, {"one": (150, 7, 30), "two": (8, 5, 6)}])
    )
    await settle(store, clock.now - 1, 999, 999)

    async def sleep(seconds: float) -> None:
        await settle(store, clock.now + 1, 40, 20)
        clock.pass_by(seconds)

    comparison = await compare(
        served(answers, "http://one", "http://two"),
        Reports(store),
        window=10,
        clock=clock,
        sleep=sleep,
    )
    assert comparison.backend == Tokens(60, 21)
    assert comparison.ledger == Tokens(40, 20)
    assert comparison.drift == Tokens(20, 1)


async def test_a_replica_that_was_restarted_cannot_be_compared(store: Store, clock: Clock) -> None:
    answers = backend(iter([{"one": (100, 0, 10)}, {"one": (3, 0, 1)}]))

    async def sleep(seconds: float) -> None:
        clock.pass_by(seconds)

    with pytest.raises(UpstreamFailed, match="was restarted"):
        await compare(served(answers), Reports(store), window=10, clock=clock, sleep=sleep)


async def test_a_backend_that_does_not_answer_is_named(store: Store) -> None:
    refusing = httpx.MockTransport(lambda _: said("", 501))
    with pytest.raises(UpstreamFailed, match=r'upstream "up": http://one/metrics: .*501'):
        await compare(served(refusing), Reports(store), window=10)


def test_only_backends_that_count_can_be_compared() -> None:
    config = Config(
        upstreams={"a": settings("llama_server"), "b": settings("vllm"), "c": settings("generic")}
    )
    assert list(comparable(config)) == ["a", "b"]


GATE = """
[upstreams.local]
urls = ["{llama}"]
dialect = "llama_server"

[[routes]]
path = "/v1"
upstream = "local"
authentication = "none"
middleware = ["accounting"]
"""


async def test_against_a_real_backend_nothing_drifts(llama: str, sqlite_url: str, tmp_path: Path) -> None:
    """Plain, streamed and cached: what llama.cpp's server counts is what the ledger has."""
    from servers import serve

    from llmgate.gate.build import open_gate
    from llmgate.gate.runtime import open_runtime

    file = Path(sqlite_url.removeprefix("sqlite:///")).parent / "gate.toml"
    file.write_text(GATE.format(llama=llama))
    config = load(file)
    async with open_runtime(config) as runtime, open_gate(config, runtime) as gate:
        (entrance,) = gate.apps.values()

        async def use(_: float) -> None:
            async with serve(entrance) as url, httpx.AsyncClient(trust_env=False, timeout=60) as client:
                for stream in (False, True, False):
                    body = {"model": "smollm2", "max_tokens": 8, "stream": stream}
                    messages = [{"role": "user", "content": "Count to five."}]
                    answer = await client.post(
                        f"{url}/v1/chat/completions", json={**body, "messages": messages}
                    )
                    assert answer.status_code == 200

        waits = iter([use])

        async def sleep(seconds: float) -> None:
            for work in waits:
                await work(seconds)
                return

        local = gate.services.upstreams["local"]
        comparison = await compare(local, Reports(runtime.store), window=1, sleep=sleep)
    assert comparison.ledger.output > 3
    assert comparison.drift == Tokens(0, 0)


async def test_a_prompt_that_vllm_counts_once_for_each_choice_is_no_drift(store: Store, clock: Clock) -> None:
    """Three choices of one prompt of 10 tokens: 30 there, 10 here. The record says so, whoever has written it."""
    metrics = iter(["vllm:prompt_tokens_total 0\nvllm:generation_tokens_total 0\n",
                    "vllm:prompt_tokens_total 37\nvllm:generation_tokens_total 12\n"])  # fmt: skip
    answers = httpx.MockTransport(lambda _: said(next(metrics)))

    async def sleep(seconds: float) -> None:
        await settle(store, clock.now + 1, 10, 9, choices=3)
        await settle(store, clock.now + 2, 7, 3)
        clock.pass_by(seconds)

    comparison = await compare(
        served(answers, dialect="vllm"), Reports(store), window=10, clock=clock, sleep=sleep
    )
    assert comparison.backend == Tokens(37, 12)
    assert comparison.drift == Tokens(0, 0)


async def test_a_prompt_that_a_backend_counts_once_for_all_choices_is_no_drift_either(
    store: Store, clock: Clock
) -> None:
    answers = backend(iter([{"one": (0, 0, 0)}, {"one": (10, 0, 9)}]))

    async def sleep(seconds: float) -> None:
        await settle(store, clock.now + 1, 10, 9, choices=3)
        clock.pass_by(seconds)

    comparison = await compare(served(answers), Reports(store), window=10, clock=clock, sleep=sleep)
    assert comparison.drift == Tokens(0, 0)


@pytest.mark.parametrize(("now", "pause"), [(0.0, 300.0), (299.5, 0.5), (1_800_000_123.0, 177.0)])
def test_workers_compare_the_same_windows_whenever_they_were_started(now: float, pause: float) -> None:
    assert next_window(now, 300.0) == (pause, 294.0)
    assert next_window(now, 4.0)[1] == 2.0
