"""A backend for clients: it answers as vLLM does, fails as it is told to, and remembers what it was asked."""

import base64
import json
import struct
from dataclasses import dataclass, field
from typing import Any

from servers import Peer

USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
TEXT = ["Hel", "lo ", "wörld 🙂"]
VECTOR = [0.25, -0.5, 1.0]
CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Zürich"}'},
}
JSON = b"content-type: application/json\r\n"


@dataclass
class Failure:
    """An answer instead of the usual one; its headers let clients that retry do so at once."""

    status: bytes
    headers: bytes = b"retry-after-ms: 1\r\n"


@dataclass
class DynamicUpstream:
    """`asked` has path and body of every request.

    `failures` come first, one for each; `cut` lets streams break off after their first event.
    """

    failures: list[Failure] = field(default_factory=list)
    cut: bool = False
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def script(self, peer: Peer) -> None:
        """See `ScriptedUpstream`."""
        while True:
            head, content = await peer.request()
            path = head.split(b" ")[1].decode()
            body = json.loads(content) if content else {}
            if path == "/tokenize":  # the gate's own question
                await peer.answer(b'{"count":5}', headers=JSON)
                continue
            self.asked.append((path, body))
            if self.failures:
                failure = self.failures.pop(0)
                error = {"error": {"message": "as told", "type": "told", "param": None, "code": "told"}}
                said = json.dumps(error).encode()
                await peer.answer(said, status=failure.status, headers=JSON + failure.headers)
            elif body.get("stream"):
                await self._stream(peer, body)
            else:
                await peer.answer(json.dumps(_answer(path, body)).encode(), headers=JSON)

    async def _stream(self, peer: Peer, body: dict[str, Any]) -> None:
        await peer.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for event in _events(body):
            await peer.chunk(b"data: %b\n\n" % json.dumps(event).encode())
            if self.cut:
                raise EOFError
        await peer.chunk(b"data: [DONE]\n\n")
        await peer.chunk(b"")


def _calls_tool(body: dict[str, Any]) -> bool:
    """Once: when the tool has answered, the model talks."""
    return "tools" in body and body["messages"][-1]["role"] != "tool"


def _events(body: dict[str, Any]) -> list[dict[str, Any]]:
    pieces: list[dict[str, Any]] = [{"content": text} for text in TEXT]
    if _calls_tool(body):
        pieces = [{"tool_calls": [{"index": 0, **CALL}]}]
    pieces[0]["role"] = "assistant"
    end = "tool_calls" if _calls_tool(body) else "stop"
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "small"}
    choices = [{"index": 0, "delta": piece, "finish_reason": None} for piece in pieces]
    choices.append({"index": 0, "delta": {}, "finish_reason": end})
    events = [{**common, "choices": [choice]} for choice in choices]
    options = body.get("stream_options") or {}
    if options.get("continuous_usage_stats"):
        events = [{**event, "usage": USAGE} for event in events]
    if options.get("include_usage"):
        events.append({**common, "choices": [], "usage": USAGE})
    return events


def _answer(path: str, body: dict[str, Any]) -> dict[str, Any]:
    if path.endswith("/models"):
        card = {"id": "small", "object": "model", "created": 1, "owned_by": "vllm", "max_model_len": 1000}
        return {"object": "list", "data": [card]}
    if path.endswith("/embeddings"):
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        encoded: Any = VECTOR
        if body.get("encoding_format") == "base64":
            encoded = base64.b64encode(struct.pack("<3f", *VECTOR)).decode()
        data = [{"object": "embedding", "index": at, "embedding": encoded} for at in range(len(texts))]
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        return {"object": "list", "model": "small", "data": data, "usage": usage}
    message: dict[str, Any] = {"role": "assistant", "content": "".join(TEXT)}
    if _calls_tool(body):
        message = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    end = "tool_calls" if _calls_tool(body) else "stop"
    choice = {"index": 0, "message": message, "finish_reason": end}
    common = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "small"}
    return {**common, "choices": [choice], "usage": USAGE}
