"""A vLLM that answers with a fixed continuation and scores text by a rule.

To what loads and unloads adapters it gives the answers of a real one (0.32, tests/data/captures/vllm/lora).
"""

import asyncio
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from starlette.types import Receive, Scope, Send
from usage.captures import load

from llmgate.plugin.api import read_body

BASE = "base"


def real(name: str, body: dict[str, Any]) -> tuple[int, bytes]:
    """What a real vLLM answers, of the names in `body`."""
    capture = load(f"vllm/lora/{name}.txt")
    answer = capture.answer
    for member, value in json.loads(capture.request).items():
        answer = answer.replace(value.encode(), str(body[member]).encode())
    return capture.status, answer


@dataclass
class FakeVllm:
    """Tokens are bytes. A token's log-probability is -0.5, behind an adapter -0.25."""

    text: str = "    return n % 2 == 0\n"
    status: int = 200
    error: dict[str, Any] | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    completions: list[dict[str, Any]] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    admin: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    loads: bool = True
    max_rank: int = 64
    held: asyncio.Event = field(default_factory=asyncio.Event)
    """Completions wait for it."""

    def __post_init__(self) -> None:
        self.held.set()

    credentials: set[bytes] = field(default_factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = await read_body(receive, 1 << 30)
        body = msgspec.json.decode(raw) if raw else {}
        self.credentials.add(dict(scope["headers"]).get(b"authorization", b""))
        status, answer = self._answer(scope["path"], body)
        if scope["path"] == "/v1/completions":
            await self.held.wait()
        out = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(out))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": out})

    def _answer(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        match path:
            case "/v1/models":
                return 200, {"object": "list", "data": [{"id": name} for name in (BASE, *self.adapters)]}
            case "/v1/completions":
                return self._complete(body)
            case "/tokenize":
                return 200, {"tokens": [*body["prompt"].encode()], "count": len(body["prompt"].encode())}
            case "/v1/load_lora_adapter" | "/v1/unload_lora_adapter" if not self.loads:
                return real("load_updates_off", body)
            case "/v1/load_lora_adapter":
                return self._load(body)
            case "/v1/unload_lora_adapter":
                self.admin.append(("unload", body))
                there = self.adapters.pop(body["lora_name"], None)
                return real("unload_unknown" if there is None else "unload", body)
            case "/health":
                return 200, {}
        return 404, {"detail": "Not Found"}

    def _load(self, body: dict[str, Any]) -> tuple[int, Any]:
        self.admin.append(("load", body))
        if body["lora_name"] in self.adapters:
            return real("load_again", body)
        config = Path(body["lora_path"]) / "adapter_config.json"
        if not config.exists():
            return real("load_no_adapter_in_folder", body)
        if json.loads(config.read_text()).get("r", 1) > self.max_rank:
            return real("load_rank_too_high", body)
        self.adapters[body["lora_name"]] = body["lora_path"]
        return real("load", body)

    def _complete(self, body: dict[str, Any]) -> tuple[int, Any]:
        if body["model"] not in (BASE, *self.adapters):
            return 404, {"error": {"message": f"The model `{body['model']}` does not exist.", "code": 404}}
        if "logit_bias" in body:
            self.probes.append(body)
            (token,) = body["logit_bias"]
            logprob = -0.5 if body["model"] == BASE else -0.25
            scored = {"tokens": [f"token_id:{token}"], "token_logprobs": [logprob]}
            return 200, {"choices": [{"text": "x", "logprobs": scored}], "usage": self._usage(body, 1)}
        if "prompt_logprobs" in body:
            self.probes.append(body)
            scored_prompt = [{str(token): {"logprob": -0.5}} for token in body["prompt"]]
            choice = {"text": "x", "prompt_logprobs": scored_prompt}
            return 200, {"choices": [choice], "usage": self._usage(body, 1)}
        self.completions.append(body)
        if self.status != 200:
            return self.status, self.error or {"error": {"message": "no"}}
        return 200, {
            "object": "text_completion",
            "model": body["model"],
            "choices": [{"index": 0, "text": self.text, "finish_reason": "stop"}],
            "usage": self._usage(body, len(self.text.encode())),
        }

    def _usage(self, body: dict[str, Any], output: int) -> dict[str, int]:
        prompt = len(body["prompt"]) if isinstance(body["prompt"], list) else len(body["prompt"].encode())
        return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output}
