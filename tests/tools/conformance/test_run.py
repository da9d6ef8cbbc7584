"""Which verdict a case gets, in front of backends and gates that answer by script; and the report on it."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from click.testing import CliRunner
from gates import running
from real_backends import llama
from servers import Peer, ScriptedUpstream
from stores import migrated_file

from llmgate.cli import main
from llmgate.errors import ConfigError
from llmgate.proxy.engines.base import Origin
from llmgate.proxy.engines.httptools_engine import HttptoolsEngine
from llmgate.tools.conformance import CASES, Case, Finding, Target, Verdict, examine, first_model
from llmgate.tools.conformance.cases import Own

__all__ = ["llama", "migrated_file"]

CASE = Case("chat", "POST", "/v1/chat/completions", b"{}")
REFUSED = (b"400 Bad Request", b"no")


def says(*answers: tuple[bytes, bytes]) -> Any:
    """A server that gives these answers, status and body, again and again."""
    told: Iterator[tuple[bytes, bytes]] = cycle(answers)

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            status, body = next(told)
            await peer.answer(body, status=status)

    return script


@asynccontextmanager
async def asked(backend: Any, gate: Any) -> AsyncIterator[tuple[HttptoolsEngine, Target, Target]]:
    engine = HttptoolsEngine()
    async with ScriptedUpstream(backend) as one, ScriptedUpstream(gate) as other:
        try:
            yield engine, Target(Origin.parse(one.url)), Target(Origin.parse(other.url), "the-key")
        finally:
            await engine.aclose()


async def verdict(backend: Any, gate: Any, case: Case = CASE) -> Finding:
    async with asked(backend, gate) as sides:
        return await examine(*sides, case, "tiny")


OK, OTHER, THIRD = ((b"200 OK", body) for body in (b"a", b"b", b"c"))


async def test_the_same_answer_is_the_same() -> None:
    """One question to each side is enough."""
    finding = await verdict(says(OK, OTHER), says(OK, THIRD))
    assert (finding.verdict, finding.differences) == (Verdict.SAME, [])


async def test_another_answer_differs() -> None:
    """Each time, while the backend says the same."""
    finding = await verdict(says(OK), says(OTHER))
    assert finding.verdict is Verdict.DIFFERS
    assert finding.differences[0].startswith("body: from byte 0 on")


async def test_an_answer_that_the_backend_gives_later_is_the_same() -> None:
    """Its cache was cold when it was asked directly, and warm through the gate."""
    assert (await verdict(says(OK, OTHER), says(OTHER))).verdict is Verdict.SAME


async def test_a_backend_that_never_says_the_same_is_unsteady() -> None:
    """Nothing can be said of the gate then."""
    backend = says((b"200 OK", b"1"), (b"200 OK", b"2"), (b"200 OK", b"3"))
    assert (await verdict(backend, says(OK))).verdict is Verdict.UNSTEADY


async def test_the_gates_own_answer_is_told_with_its_reason() -> None:
    """Where it is the one that the case expects; any other is a difference."""
    case = Case("err", "POST", "/v1/chat/completions", b"[", own=Own(400, "because"))
    finding = await verdict(says(OK), says(REFUSED), case)
    assert (finding.verdict, finding.why) == (Verdict.OWN, "because")
    assert (await verdict(says(OK), says((b"500 Oh", b"no")), case)).verdict is Verdict.DIFFERS


async def test_an_answer_that_breaks_off_through_the_gate_differs() -> None:
    """Though every byte that came is right."""

    async def whole(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n")

    async def cut(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n")

    finding = await verdict(whole, cut)
    assert finding.differences == ["the end: broke off through the gate"]


async def test_each_side_gets_its_own_key() -> None:
    """And the gate's key never goes to the backend."""
    heads: dict[str, bytes] = {}

    def noting(side: str) -> Any:
        async def script(peer: Peer) -> None:
            heads[side], _ = await peer.request()
            await peer.answer(b"a")

        return script

    await verdict(noting("backend"), noting("gate"))
    assert b"authorization: Bearer the-key" in heads["gate"]
    assert b"authorization" not in heads["backend"]


async def test_the_model_is_the_first_that_the_backend_lists() -> None:
    """Where it lists none, one has to be named."""
    async with asked(says((b"200 OK", b'{"data":[{"id":"tiny"},{"id":"b"}]}')), says(OK)) as (engine, one, _):
        assert await first_model(engine, one) == "tiny"
    async with asked(says((b"200 OK", b'{"data":[]}')), says(OK)) as (engine, one, _):
        with pytest.raises(ConfigError, match="name one with --model"):
            await first_model(engine, one)


async def run(backend: Any, gate: Any, *arguments: str) -> Any:
    """`llmgate conformance`, in a thread of its own, beside the servers."""
    async with ScriptedUpstream(backend) as one, ScriptedUpstream(gate) as other:
        command = ["conformance", one.url, "--through", other.url, "--model=tiny", *arguments]
        return await asyncio.to_thread(CliRunner().invoke, main, command, catch_exceptions=False)


async def test_the_report_names_what_differs_and_the_exit_code_says_so() -> None:
    """0 where nothing does."""
    good = await run(says(OK), says(OK), "--only=chat")
    assert good.exit_code == 0
    assert "1 requests: 1 same" in good.output
    bad = await run(says(OK), says(OTHER), "--only=chat", "--only=models")
    assert bad.exit_code == 1
    assert "2 requests: 2 DIFFERS" in bad.output
    assert "through the gate  b" in bad.output


async def test_programs_get_json() -> None:
    """The same, by stable names."""
    result = await run(says(OK), says(REFUSED), "--only=err_dup_keys", "--json")
    [finding] = json.loads(result.stdout)
    assert (finding["name"], finding["verdict"], finding["differences"]) == ("err_dup_keys", "own", [])
    assert result.exit_code == 0


def test_a_request_that_there_is_not_is_a_mistake() -> None:
    """Said before anybody is asked."""
    result = CliRunner().invoke(main, ["conformance", "http://a", "--through", "http://b", "--only=chats"])
    assert result.exit_code == 2
    assert "no request called chats" in result.output


def test_a_backend_that_does_not_answer_is_named() -> None:
    """As every error of the command line: one line, no traceback."""
    result = CliRunner().invoke(
        main, ["conformance", "http://127.0.0.1:1", "--through", "http://127.0.0.1:1"]
    )
    assert result.exit_code == 2
    assert "127.0.0.1:1" in result.output
    assert "Traceback" not in result.output


async def test_the_gate_is_transparent_in_front_of_a_real_model(
    llama: str, migrated_file: Path, tmp_path: Path
) -> None:
    """Every request, byte for byte: nothing differs, and nothing is left open."""
    upstreams = {"vllm": {"urls": [llama], "dialect": "llama_server", "health": {"enabled": False}}}
    gate_of = running(tmp_path, Path(copy(migrated_file, tmp_path)), upstreams=upstreams, quotas=[])
    engine = HttptoolsEngine()
    async with gate_of as gate:
        sides = Target(Origin.parse(llama)), Target(Origin.parse(gate.url), gate.key)
        findings = [await examine(engine, *sides, case, "smollm2") for case in CASES]
        await engine.aclose()
    bad = [finding for finding in findings if finding.verdict not in (Verdict.SAME, Verdict.OWN)]
    assert bad == []
    assert len([finding for finding in findings if finding.verdict is Verdict.SAME]) > 30
