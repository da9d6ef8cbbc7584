"""The captured answers of real backends (tests/data/captures), each with the request that it answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from llmgate.backends.dialect import DIALECTS, Dialect
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.request import ModelRequest, endpoint_of, parse_request
from llmgate.usage.meter import meter_for
from llmgate.usage.model import Meter

ROOT = Path(__file__).parent.parent / "data" / "captures"

_CHAT = '{"model":"tiny","messages":[{"role":"user","content":"Say hi"}]%s}'
_STREAMED = _CHAT % ',"stream":true'
_UNRECORDED = {
    # Captures without their request: what it must have been, as far as metering depends on it.
    "llama_server/emb_": ("POST /v1/chat/completions", _CHAT % ',"max_tokens":3'),
    "llama_server/emb_list": ("POST /v1/embeddings", '{"model":"emb","input":["Hello","World"]}'),
    "llama_server/emb_models": ("GET /v1/models", ""),
    "llama_server/emb_single": ("POST /v1/embeddings", '{"model":"emb","input":"Hello"}'),
    "vllm/embed_apikey/": ("POST /v1/chat/completions", _CHAT % ""),
    "vllm/embed_apikey/embeddings": ("POST /v1/embeddings", '{"model":"tiny","input":"Hello"}'),
    "vllm/embed_apikey/health": ("GET /health", ""),
    "vllm/embed_apikey/invocations": ("POST /invocations", '{"model":"tiny","input":"Hello"}'),
    "vllm/embed_apikey/metrics": ("GET /metrics", ""),
    "vllm/embed_apikey/okkey": ("GET /v1/models", ""),
    "vllm/embed_apikey/options": ("OPTIONS /v1/models", ""),
    "vllm/embed_apikey/tokenize": ("POST /tokenize", '{"model":"tiny","prompt":"Hello"}'),
    "vllm/main/err_too_long_tokens": ("POST /v1/chat/completions", _CHAT % ""),
    "vllm/mw/": ("POST /v1/chat/completions", _STREAMED),
    "vllm/mw/health": ("GET /health", ""),
    "vllm/mw/load": ("GET /load", ""),
    "vllm/mw/models": ("GET /v1/models", ""),
    "vllm/mw/nonstream": ("POST /v1/chat/completions", _CHAT % ',"max_tokens":4'),
    "vllm/mw/reqid": ("POST /v1/chat/completions", _CHAT % ',"max_tokens":2'),
    "vllm/smollm2/": ("POST /v1/chat/completions", _STREAMED),
    "vllm/smollm2/prefix": ("POST /v1/chat/completions", _CHAT % ',"max_tokens":2'),
    "vllm/smollm2/tool_named": ("POST /v1/chat/completions", _CHAT % ""),
}
_FAMILIES = {
    "vllm": DIALECTS["vllm"],
    "llama_server": DIALECTS["llama_server"],
    "llama_cpp": DIALECTS["llama_cpp_python"],
}


@dataclass(frozen=True)
class Capture:
    name: str
    method: str
    path: str
    request: bytes
    status: int
    content_type: bytes | None
    answer: bytes

    @property
    def dialect(self) -> Dialect:
        return _FAMILIES[self.name.partition("/")[0]]

    @property
    def is_stream(self) -> bool:
        return self.content_type is not None and self.content_type.startswith(b"text/event-stream")

    @property
    def endpoint(self) -> Endpoint:
        return endpoint_of(self.method, self.path)

    def model_request(self) -> ModelRequest:
        """What the request asked for; what is not metered may have no body at all."""
        return parse_request(self.endpoint, self.request if self.endpoint is not Endpoint.OTHER else b"{}")

    def meter(self) -> Meter:
        return meter_for(
            self.dialect, self.model_request(), status=self.status, content_type=self.content_type
        )


def masked(stream: bytes) -> bytes:
    """A stream without what differs from run to run: ids, times, fingerprints' values, generated text."""
    stream = re.sub(rb'"(id|text)":"[^"]*"', rb'"\1":"~"', stream)
    stream = re.sub(rb'"created":\d+', b'"created":0', stream)
    return re.sub(rb'"(\w+_(?:ms|second))":[\d.]+', rb'"\1":0', stream)


def names() -> list[str]:
    """Every file that holds a request's answer (the others tell of disconnects and metrics)."""
    files = sorted(ROOT.rglob("*.txt"))
    return [
        str(file.relative_to(ROOT)) for file in files if file.read_bytes().startswith((b"###", b"HTTP/1."))
    ]


def load(name: str) -> Capture:
    head, _, answer = (ROOT / name).read_bytes().rpartition(b"### RESPONSE\n")
    if head:
        line, _, request = head.partition(b"\n")
        method, path = line.decode().split(" ")[2:4]
        if "-X OPTIONS" in line.decode():
            method = "OPTIONS"
        request = request.removesuffix(b"\n")
    else:
        start = max((prefix for prefix in _UNRECORDED if name.startswith(prefix)), key=len)
        line, body = _UNRECORDED[start]
        method, _, path = line.partition(" ")
        request = body.encode()
    answer = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    headers, _, content = answer.partition(b"\r\n\r\n")
    lines = headers.split(b"\r\n")
    fields = {
        field.lower(): value.strip() for field, _, value in (line.partition(b":") for line in lines[1:])
    }
    status = int(lines[0].split()[1])
    return Capture(name, method, path, request, status, fields.get(b"content-type"), content)
