"""Upstreams of gate.toml in the words of the proxy."""

from pathlib import Path
from typing import Any

import pytest

from llmgate.backends.dialect import DIALECTS
from llmgate.config import Upstream, from_document
from llmgate.gate.upstreams import health_of, health_path_of, queue_of, serving_of, upstream_of
from llmgate.proxy.asgi_upstream import ORIGIN
from llmgate.proxy.engines.base import Timeouts
from llmgate.proxy.health import HealthSettings


def settings_of(**settings: Any) -> Upstream:
    document = {
        "upstreams": {"u": {"urls": ["http://a:1", "http://b:2"], **settings}},
        "routes": [{"path": "/v1", "upstream": "u"}],
    }
    return from_document(document, file=Path("gate.toml"), environ={}).upstreams["u"]


class Engine:
    """Nobody asks it."""


def opened(**settings: Any) -> Any:
    return upstream_of("u", settings_of(**settings), Engine())  # type: ignore[arg-type]


def test_replicas_key_and_dialect() -> None:
    upstream = opened(api_key="sk-own", dialect="vllm", headers={"x-team": "a"}, models={"fast": "small"})
    assert [replica.origin.url for replica in upstream.replicas] == ["http://a:1", "http://b:2"]
    assert upstream.own_headers() == {b"authorization": b"Bearer sk-own", b"x-team": b"a"}
    assert upstream.dialect is DIALECTS["vllm"]
    assert upstream.models == {"fast": "small"}


def test_the_app_inside_has_an_address_of_its_own() -> None:
    assert [replica.origin.url for replica in opened(urls=["app:"]).replicas] == [ORIGIN]


def test_timeouts_are_those_of_the_file() -> None:
    written = {"connect_timeout": 1, "first_byte_timeout": 2, "idle_timeout": 3}
    timeouts = opened(**written).timeouts
    assert isinstance(timeouts, Timeouts)
    assert (timeouts.connect, timeouts.first_byte, timeouts.idle) == (1, 2, 3)


@pytest.mark.parametrize(("workers", "places"), [(1, 10), (3, 3), (20, 1)])
def test_each_worker_has_its_part_of_the_places_and_never_none(workers: int, places: int) -> None:
    assert queue_of(settings_of(max_in_flight=10), workers).max_in_flight == places
    assert queue_of(settings_of(), workers).max_in_flight is None


def test_health_is_asked_where_the_dialect_says_unless_told_otherwise() -> None:
    assert health_path_of(settings_of(dialect="vllm")) == "/health"
    assert health_path_of(settings_of(dialect="vllm", health={"path": "/ping"})) == "/ping"
    health = {"interval": 7, "timeout": 2, "rise": 1, "fall": 4}
    assert health_of(settings_of(dialect="vllm", health=health)) == HealthSettings("/health", 7, 2, 1, 4)


@pytest.mark.parametrize(
    "settings", [{"dialect": "vllm", "health": {"enabled": False}}, {"dialect": "generic"}]
)
def test_who_has_no_health_or_shall_not_be_asked_is_not_probed(settings: dict[str, Any]) -> None:
    assert health_of(settings_of(**settings)) is None


async def test_what_layers_have_to_know_of_it() -> None:
    settings = settings_of(dialect="vllm", context_length=4096, max_output_tokens=512)
    serving = serving_of(opened(dialect="vllm"), settings)
    assert (serving.upstream, serving.dialect) == ("u", DIALECTS["vllm"])
    assert await serving.context_of("any") == 4096
    assert serving.max_output_tokens == 512
