"""What machines ask the gate about itself."""

import shutil
import subprocess
from pathlib import Path
from shutil import copy
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
import pytest
from gates import running
from playbook import play
from servers import connect
from stores import migrated_file

from llmgate.errors import StoreError
from llmgate.observability.probes import Alive, Ready
from llmgate.proxy.replica import ReplicaState

__all__ = ["migrated_file"]


def ledger(failing: StoreError | None = None) -> Any:
    return SimpleNamespace(commits=SimpleNamespace(failing=failing))


def upstream(*replicas: tuple[bool, str]) -> Any:
    return SimpleNamespace(
        state=lambda: [ReplicaState("http://a", h, b, 0, serves=h and b != "open") for h, b in replicas]
    )


def serving(**state: bool) -> Any:
    """An upstream with one replica that health checks took out."""
    return SimpleNamespace(state=lambda: [ReplicaState("http://a", False, "closed", 0, **state)])


async def test_alive_is_said_by_whoever_can_say_it() -> None:
    told = await play(Alive(), path="/healthz")
    assert (told.status, told.body, told.header("cache-control")) == (200, b'{"status":"ok"}', "no-store")
    assert (await play(Alive(), "HEAD")).body == b""


@pytest.mark.parametrize(
    ("failing", "upstreams", "fail_open", "status"),
    [
        (None, {"a": upstream((True, "closed"))}, False, 200),
        (None, {}, False, 200),
        (None, {"a": upstream((False, "closed"), (True, "half_open"))}, False, 200),
        (None, {"a": upstream((False, "closed"))}, False, 503),
        (None, {"a": upstream((True, "open"))}, False, 503),
        (None, {"a": upstream((True, "open")), "b": upstream((True, "closed"))}, False, 200),
        (StoreError("away"), {"a": upstream((True, "closed"))}, False, 503),
        (StoreError("away"), {"a": upstream((True, "closed"))}, True, 200),
    ],
)
async def test_ready_is_who_can_record_and_has_somebody_to_ask(
    failing: StoreError | None, upstreams: dict[str, Any], fail_open: bool, status: int
) -> None:
    told = await play(Ready(ledger(failing), upstreams, fail_open=fail_open))
    said = msgspec.json.decode(told.body)
    assert (told.status, said["status"]) == (status, "ok" if status == 200 else "unavailable")
    assert said["ledger"] == ("ok" if failing is None else "unavailable")
    assert said["upstreams"].keys() == upstreams.keys()


@pytest.mark.parametrize(
    ("upstreams", "status", "standing"),
    [
        ({"a": serving(serves=True)}, 200, "degraded"),
        ({"a": serving(serves=False)}, 503, "unavailable"),
        ({"a": serving(serves=False, key_refused=True)}, 503, "key refused"),
    ],
)
async def test_one_that_answers_though_its_health_is_late_keeps_the_gate_ready(
    upstreams: dict[str, Any], status: int, standing: str
) -> None:
    told = await play(Ready(ledger(), upstreams))
    assert (told.status, msgspec.json.decode(told.body)["upstreams"]) == (status, {"a": standing})


@pytest.mark.parametrize(("failing", "status"), [("redis: away", 503), (None, 200)])
async def test_not_ready_without_the_store_that_limits_are_counted_in(
    failing: str | None, status: int
) -> None:
    """Where the gate refuses requests without it. What is wrong with it is for the log."""
    told = await play(Ready(ledger(), {}, limits=SimpleNamespace(failing=failing)))
    said = msgspec.json.decode(told.body)
    assert (told.status, said["limits"]) == (status, "ok" if failing is None else "unavailable")
    assert "redis" not in told.body.decode()


async def test_the_metrics_of_a_gate_that_has_served_please_promtool(
    migrated_file: Path, tmp_path: Path
) -> None:
    copy(migrated_file, tmp_path / "gate.db")
    async with running(tmp_path, tmp_path / "gate.db") as gate:
        async with connect(gate.url) as client:
            await client.send(
                gate.request() + gate.request(b"{") + b"GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n"
            )
            for _ in range(3):
                await client.response()
        await gate.quiet()
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(gate.url + "/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert 'llmgate_refused_total{reason="bad_request",route="/v1"} 1.0' in answer.text
    assert 'llmgate_refused_total{reason="not_found",route="-"} 1.0' in answer.text
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    checked = subprocess.run(  # noqa: ASYNC221 - nothing else is going on
        [promtool, "check", "metrics"], input=answer.content, capture_output=True, timeout=30, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
