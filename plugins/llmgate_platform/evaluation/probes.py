"""How likely a model finds a given text: asked of its engine, token by token where that cannot score a prompt.

No part of what users are charged for: these requests go to the engine itself, not through the layers of a route.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from llmgate.plugin.api import UpstreamFailed

MAX_TOKENS = 256
"""Tokens of a reference that are scored."""
TIMEOUT_S = 120.0
BIAS = 100
"""Added to the logit of a token that has to come next; what is told of it is its probability without."""


class NotScored(Exception):
    """The engine does not tell what is needed; the message is for the user."""


@dataclass(frozen=True, slots=True)
class Engine:
    """One replica of a model's engine, asked directly.

    `scores_prompts`: it may be asked for `prompt_logprobs`. A vLLM that loads adapters may not: two at once can end
    its engine (0.32; vllm issues 16668, 29955, 51594).
    """

    http: httpx.AsyncClient
    url: str
    dialect: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)
    scores_prompts: bool = False

    async def logprobs(self, prompt: str, reference: str) -> list[float]:
        """The log-probability of each token of `reference` behind `prompt`.

        Raises `NotScored` where this kind of engine cannot tell, and `UpstreamFailed`.
        """
        if self.dialect not in ("vllm", "llama_server"):
            raise NotScored("perplexity: this model's server does not tell how likely it finds a given text")
        given = await self._tokens(prompt, special=True)
        wanted = (await self._tokens(reference, special=False))[:MAX_TOKENS]
        if self.dialect == "vllm" and self.scores_prompts:
            return await self._of_prompt(given, wanted)
        return [await self._forced([*given, *wanted[:at]], token) for at, token in enumerate(wanted)]

    async def _of_prompt(self, given: Sequence[int], wanted: Sequence[int]) -> list[float]:
        """vLLM scores a prompt in one request."""
        answer = await self._complete(prompt=[*given, *wanted], prompt_logprobs=0)
        scored = answer["choices"][0]["prompt_logprobs"][len(given) :]
        return [position[str(token)]["logprob"] for position, token in zip(scored, wanted, strict=True)]

    async def _forced(self, given: Sequence[int], token: int) -> float:
        """What the model itself gives to `token`, which is made to come next."""
        body: dict[str, Any] = {"prompt": given, "logprobs": 1, "logit_bias": {str(token): BIAS}}
        if self.dialect == "vllm":
            told = (await self._complete(**body, return_tokens_as_token_ids=True))["choices"][0]["logprobs"]
            came, logprob = int(told["tokens"][0].removeprefix("token_id:")), told["token_logprobs"][0]
        else:
            told = (await self._complete(**body))["choices"][0]["logprobs"]["content"][0]
            came, logprob = told["id"], told["logprob"]
        if came != token:
            raise NotScored("perplexity: this model's server does not take logit_bias")
        return float(logprob)

    async def _tokens(self, text: str, *, special: bool) -> list[int]:
        if self.dialect == "vllm":
            body = {"model": self.model, "prompt": text, "add_special_tokens": special}
        else:
            body = {"content": text, "add_special": special}
        tokens: list[int] = (await self._post("/tokenize", body))["tokens"]
        return tokens

    async def _complete(self, **body: Any) -> dict[str, Any]:
        common = {"model": self.model, "max_tokens": 1, "temperature": 0, **self.extra}
        return await self._post("/v1/completions", {**common, **body})

    async def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        try:
            answer = await self.http.post(
                self.url + path, json=body, headers=dict(self.headers), timeout=TIMEOUT_S
            )
            answer.raise_for_status()
            found: dict[str, Any] = answer.json()
        except (httpx.HTTPError, ValueError) as error:
            raise UpstreamFailed("The model's server could not score a text.") from error
        return found
