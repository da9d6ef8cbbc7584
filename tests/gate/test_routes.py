"""What stands around every route of an address."""

from collections.abc import AsyncIterator
from pathlib import Path
from shutil import copy

import pytest
from gates import Running, error_of, running
from servers import connect
from stores import migrated_file

__all__ = ["migrated_file"]


async def asked(gate: Running, host: str) -> tuple[int, bytes]:
    async with connect(gate.url) as client:
        await client.send(f"GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n".encode())
        head, body = await client.response()
        return int(head.split()[1]), body


@pytest.fixture
async def gate(migrated_file: Path, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Running]:
    copy(migrated_file, tmp_path / "gate.db")
    settings = {"access_log": False, "max_body": 100_000, **request.param}
    async with running(tmp_path, tmp_path / "gate.db", gate=settings) as opened:
        yield opened


@pytest.mark.parametrize("gate", [{}], indirect=True)
async def test_a_loopback_address_is_not_asked_by_a_name_of_the_internet(gate: Running) -> None:
    assert (await asked(gate, "localhost"))[0] == (await asked(gate, "127.0.0.1:8000"))[0] == 200
    status, body = await asked(gate, "evil.example")
    assert (status, error_of(body)["code"]) == (421, "misdirected_request")
    assert "gate.hosts" in error_of(body)["message"]
    refused = [
        sample.value
        for metric in gate.runtime.instruments.registry.collect()
        for sample in metric.samples
        if sample.name == "llmgate_refused_total"
    ]
    assert refused == [1.0]


@pytest.mark.parametrize("gate", [{"hosts": ["gate.example"]}], indirect=True)
async def test_hosts_that_are_named_are_the_only_names(gate: Running) -> None:
    assert (await asked(gate, "gate.example"))[0] == 200
    assert (await asked(gate, "localhost"))[0] == 421


@pytest.mark.parametrize("gate", [{"listen": ["0.0.0.0:8000"]}, {"hosts": ["*"]}], indirect=True)
async def test_elsewhere_any_name_will_do(gate: Running) -> None:
    assert (await asked(gate, "whatever.example"))[0] == 200
