"""A page of another origin asks a gate, in a real browser: what it may send, and what it gets to read.

CORS is what browsers make of it: that a preflight is asked for, that an error is readable, and which headers are.
"""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from browser import chromium
from gates import Running, running
from servers import Peer, ScriptedUpstream
from stores import migrated_file, sqlite_url

__all__ = ["chromium", "migrated_file", "sqlite_url"]

CHUNKS = [
    b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":null}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
]
ASK = """
async ([url, key, ask]) => {
    const headers = {"content-type": "application/json"};
    if (key) headers.authorization = `Bearer ${key}`;
    try {
        const answer = await fetch(url, {method: "POST", headers, body: JSON.stringify(ask)});
        const pieces = [], reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let piece; !(piece = await reader.read()).done;) {
            pieces.push(piece.value);
            if (pieces.length == 1) await window.heard?.(piece.value);
        }
        return {status: answer.status, headers: Object.fromEntries(answer.headers), pieces};
    } catch (error) {
        return {error: String(error)};
    }
}
"""


class Streaming:
    """A backend whose second chunk comes once the page has read the first."""

    def __init__(self) -> None:
        self.heard = asyncio.Event()
        self.asked = 0

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        self.asked += 1
        await peer.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        await peer.chunk(CHUNKS[0])
        await self.heard.wait()
        await peer.chunk(CHUNKS[1])
        await peer.chunk(b"")


async def page_of(peer: Peer) -> None:
    """The server of the page, at an origin of its own."""
    await peer.request()
    await peer.answer(b"<title>a page</title>", headers=b"content-type: text/html\r\n")


async def ask(page: Any, served: Running, key: str, model: str = "small") -> dict[str, Any]:
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    answer: dict[str, Any] = await page.evaluate(ASK, [f"{served.url}/v1/chat/completions", key, body])
    return answer


@pytest.mark.parametrize("named", [True, False])
async def test_a_page_of_a_named_origin_reads_streams_errors_and_limits_and_others_read_nothing(
    chromium: Any, tmp_path: Path, sqlite_url: str, named: bool
) -> None:
    backend = Streaming()
    async with ScriptedUpstream(page_of) as site:
        route = {
            "path": "/v1",
            "upstream": "vllm",
            "cors_origins": [site.url if named else "https://else.example"],
        }
        limits = [{"per": "key", "requests": 1, "window": "1h"}]
        store = Path(sqlite_url.removeprefix("sqlite:///"))
        async with running(tmp_path, store, backend, routes=[route], limits=limits) as served:
            page = await chromium.new_page()
            await page.expose_function("heard", lambda _: backend.heard.set())
            await page.goto(site.url)
            good = await ask(page, served, served.key)
            if not named:
                assert good == {"error": "TypeError: Failed to fetch"}
                assert backend.asked == 0, "the preflight was refused, and nothing was sent"
                return
            assert good["status"] == 200
            assert "".join(good["pieces"]).encode() == b"".join(CHUNKS)
            assert len(good["pieces"]) > 1, "the page has read the first before the second was sent"
            assert good["headers"]["x-gate-request-id"]
            spent = await ask(page, served, served.key)
            assert (spent["status"], json.loads("".join(spent["pieces"]))["error"]["code"]) == (
                429,
                "rate_limit_exceeded",
            )
            assert int(spent["headers"]["retry-after"]) > 0
            assert spent["headers"]["x-ratelimit-remaining-requests"] == "0"
            unknown = await ask(page, served, "wrong")
            assert (unknown["status"], json.loads("".join(unknown["pieces"]))["error"]["code"]) == (
                401,
                "invalid_api_key",
            )
            assert backend.asked == 1


async def test_a_spent_quota_tells_a_page_that_no_retry_helps(
    chromium: Any, tmp_path: Path, sqlite_url: str
) -> None:
    """As OpenAI's SDK asks for it, in browsers, too."""
    async with ScriptedUpstream(page_of) as site:
        route = {"path": "/v1", "upstream": "vllm", "cors_origins": [site.url]}
        store = Path(sqlite_url.removeprefix("sqlite:///"))
        quotas = [{"per": "user", "tokens": 0}]
        async with running(tmp_path, store, routes=[route], quotas=quotas) as served:
            page = await chromium.new_page()
            await page.goto(site.url)
            spent = await ask(page, served, served.key)
            assert (spent["status"], spent["headers"]["x-should-retry"]) == (429, "false")
