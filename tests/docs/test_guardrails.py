"""The example of docs/guide/guardrails.md, at every place of a route's list."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from shutil import copy

import httpx
import pytest
from gates import ANSWER, running
from servers import Peer
from stores import migrated_file

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "guardrails"))
from guardrails import Guardrails, Settings

__all__ = ["migrated_file"]
CARD = "1234-5678-9012-3456"
PLACES = [
    ["guardrails.log", "guardrails.check", "ratelimit", "quota", "accounting"],
    ["ratelimit", "guardrails.check", "quota", "guardrails.log", "accounting"],
    ["ratelimit", "quota", "accounting", "guardrails.check", "guardrails.log"],
]


@pytest.mark.parametrize("middleware", PLACES, ids=["outside", "between", "inside"])
async def test_prompts_are_refused_redacted_and_logged(
    middleware: list[str],
    tmp_path: Path,
    migrated_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="guardrails.prompts")
    monkeypatch.setattr("llmgate.gate.build.load_plugin", lambda _: Guardrails())
    monkeypatch.setattr("llmgate.gate.build.migrations_of", lambda _: [None])
    bodies: list[bytes] = []

    async def backend(peer: Peer) -> None:
        while True:
            bodies.append((await peer.request())[1])
            await peer.answer(ANSWER, headers=b"content-type: application/json\r\n")

    plugin = {"refuse": ["(?i)launch codes"], "redact": [r"\d{4}(?:-\d{4}){3}"]}
    store = Path(copy(migrated_file, tmp_path / "gate.db"))
    routes = [{"path": "/v1", "upstream": "vllm", "middleware": middleware}]
    async with running(tmp_path, store, backend, routes=routes, plugins={"guardrails": plugin}) as gate:
        headers = {"authorization": f"Bearer {gate.key}", "x-log-prompt": "yes"}
        async with httpx.AsyncClient(base_url=gate.url, headers=headers, trust_env=False) as client:

            async def ask(text: str) -> httpx.Response:
                body = {"model": "small", "messages": [{"role": "user", "content": text}]}
                return await client.post("/v1/chat/completions", json=body)

            assert (await ask("Tell me the LAUNCH CODES")).status_code == 400
            assert (await ask(f"My card is {CARD}.")).status_code == 200
        assert len(bodies) == 1
        assert b"My card is [redacted]." in bodies[0]
        assert CARD.encode() not in bodies[0]
        assert any("card" in record.message for record in caplog.records)
        finished = [record for record in await gate.records() if record[0] == "finished"]
        assert finished == [("finished", 5, 7, "exact")]


def test_a_pattern_that_is_none_is_said_when_the_gate_starts() -> None:
    with pytest.raises(ValueError, match="no regular expression"):
        Settings(refuse=("(",))
