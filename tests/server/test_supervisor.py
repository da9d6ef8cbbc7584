"""Two worker processes on PostgreSQL and Redis are one gate: limits, revocation, metrics, and deaths."""

import asyncio
import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from cluster import INPUT, OUTPUT, Answer, Cluster, chat, free_port, get, llmgate, running, said

pytest.importorskip("asyncpg", reason="asyncpg is not installed (the extra `cluster`)")
pytest.importorskip("hiredis", reason="hiredis is not installed (the extra `cluster`)")

EACH = INPUT + OUTPUT
OUTPUT_TOKENS = 'llmgate_tokens_total{certainty="exact",direction="output"'
LIMITS = """
[[routes]]
path = "/limited"
upstream_path = "/v1"
upstream = "backend"

[[limits]]
per = "user"
requests = 20
window = 3600
routes = ["/limited"]
"""


@pytest.fixture(scope="module")
def shared(migrated_postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A gate for the tests that leave it as it is, run by a loop of its own."""
    folder = tmp_path_factory.mktemp("cluster")
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running(folder, migrated_postgres, more=LIMITS)) as gate,
    ):
        yield gate


async def scraped(gate: Cluster, sample: str) -> float:
    text = (await get(f"{gate.url}/metrics")).body
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(sample))


async def test_a_quota_hammered_through_two_workers_is_used_up_and_never_passed(shared: Cluster) -> None:
    key = await shared.key("hammer", tokens=40 * EACH)
    answers = await asyncio.gather(*(chat(shared.url, key) for _ in range(80)))
    statuses = Counter(answer.status for answer in answers)
    assert set(statuses) <= {200, 429}
    while (last := await chat(shared.url, key)).status == 200:  # what a lease left over is not lost
        statuses[200] += 1
    assert last.headers["x-should-retry"] == "false"
    used = await shared.usage("hammer")
    assert used.requests == statuses[200]
    assert used.tokens == statuses[200] * EACH == await shared.charged("hammer") <= 40 * EACH


async def test_a_limit_counts_across_workers(shared: Cluster) -> None:
    key = await shared.key("quick")
    answers = await asyncio.gather(*(chat(shared.url, key, route="/limited") for _ in range(50)))
    assert Counter(answer.status for answer in answers) == {200: 20, 429: 30}


async def test_a_key_revoked_beside_the_gate_is_refused_by_every_worker_at_once(shared: Cluster) -> None:
    key = await shared.key("leaver")
    assert {answer.status for answer in await many(shared, key)} == {200}
    (found,) = json.loads(await shared.run("key", "list", "--user", "leaver", "--json"))
    await shared.run("key", "revoke", str(found["id"]))
    assert {answer.status for answer in await many(shared, key)} == {401}


async def test_one_scrape_shows_what_all_workers_counted(shared: Cluster) -> None:
    key = await shared.key("counted")
    before = await scraped(shared, OUTPUT_TOKENS)
    await many(shared, key)
    for _ in range(5):  # whichever worker answers
        assert await scraped(shared, OUTPUT_TOKENS) == before + MANY * OUTPUT


async def test_a_killed_worker_is_replaced_and_nothing_it_counted_or_leased_is_lost(
    tmp_path: Path, migrated_postgres: str
) -> None:
    async with running(tmp_path, migrated_postgres) as gate:
        key = await gate.key("survivor", tokens=1000 * EACH)
        await many(gate, key)
        doomed, other = gate.workers
        os.kill(doomed, signal.SIGKILL)
        await said(gate.process, rf"worker {doomed} ended: SIGKILL; a new one starts")
        assert {answer.status for answer in await many(gate, key)} == {200}
        async with asyncio.timeout(30):  # at the latest when it is found dead, what it had leased returns
            while doomed in await gate.leasing():  # noqa: ASYNC110 - another process finds out
                await asyncio.sleep(0.1)
        assert other in gate.workers
        assert doomed not in gate.workers
        assert len(gate.workers) == 2
        assert await scraped(gate, OUTPUT_TOKENS) == 2 * MANY * OUTPUT
        assert await gate.charged("survivor") == 2 * MANY * EACH


async def test_workers_end_when_their_supervisor_is_killed(tmp_path: Path, migrated_postgres: str) -> None:
    async with running(tmp_path, migrated_postgres) as gate:
        workers = gate.workers
        gate.process.kill()
        async with asyncio.timeout(10):
            while any(map(lives, workers)):  # noqa: ASYNC110 - they are nobody's children any more
                await asyncio.sleep(0.02)


async def test_an_address_added_by_a_reload_is_served_by_every_worker(
    tmp_path: Path, migrated_postgres: str
) -> None:
    async with running(tmp_path, migrated_postgres) as gate:
        port = free_port()
        text = gate.config.read_text()
        gate.config.write_text(re.sub(r"listen = \[(.*)\]", rf'listen = [\1, "127.0.0.1:{port}"]', text))
        gate.process.send_signal(signal.SIGHUP)
        for _ in range(2):
            await said(gate.process, "is in force")
        for _ in range(10):
            assert (await get(f"http://127.0.0.1:{port}/healthz")).status == 200


async def test_a_bad_file_keeps_the_old_gate(tmp_path: Path, migrated_postgres: str) -> None:
    async with running(tmp_path, migrated_postgres) as gate:
        gate.config.write_text("[gate]\nworker = 2\n")
        gate.process.send_signal(signal.SIGHUP)
        await said(gate.process, "the old gate stays")
        assert (await get(f"{gate.url}/healthz")).status == 200


async def test_several_workers_on_stores_that_cannot_share_are_refused(tmp_path: Path) -> None:
    config = tmp_path / "gate.toml"
    config.write_text("")
    process = await asyncio.create_subprocess_exec(
        *llmgate(config, "serve", "--workers", "2"), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 2
    assert b"gate.workers: 2 workers cannot share SQLite" in errors


async def test_what_keeps_a_worker_from_starting_is_said_once_and_ends_the_gate(
    tmp_path: Path, migrated_postgres: str
) -> None:
    """Here an address that another process has."""
    async with running(tmp_path, migrated_postgres) as gate:
        process = await asyncio.create_subprocess_exec(
            *llmgate(gate.config, "serve", "--workers", "2"), stderr=asyncio.subprocess.PIPE
        )
        _, errors = await process.communicate()
        assert process.returncode == 2
        assert errors.decode().count("stop what uses it or choose another") == 1


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


MANY = 24
"""So many connections that each of two workers gets one (else once in eight million runs)."""


async def many(gate: Cluster, key: str) -> list[Answer]:
    return list(await asyncio.gather(*(chat(gate.url, key) for _ in range(MANY))))
