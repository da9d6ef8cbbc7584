"""Adapters on vLLM, which loads them while it runs (VLLM_ALLOW_RUNTIME_LORA_UPDATING) and forgets them when it ends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger("llmgate.platform")

ADAPTER_FIELD = "llmgate_adapter"
"""Member of a body by which the platform asks for the adapter of a job; it goes no further than the gate."""
LISTED_WITHIN_S = 5.0
LOADED_WITHIN_S = 60.0
TRY_AGAIN_AFTER_S = 30.0
"""Until then an adapter that was refused is not tried again: each try is work of the engine's."""
NO_UPDATES = "it loads no adapters: start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"


def adapter_name(job_id: int) -> str:
    """What vLLM calls the adapter of a job. Never given to another: vLLM keeps prefixes by this name."""
    return f"llmgate-job-{job_id}"


@dataclass(slots=True)
class Replica:
    """One vLLM, and what was said of it last. `timer`: monotonic seconds."""

    http: httpx.AsyncClient
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    timer: Callable[[], float] = time.monotonic
    _told: str = ""
    _refused: dict[int, tuple[float, str]] = field(default_factory=dict)

    async def reconcile(self, wanted: Mapping[int, Path], withdrawn: Iterable[int]) -> Collection[int]:
        """Let it have the adapters of these jobs, in these folders as it sees them, and none of those withdrawn.

        Returns the jobs whose adapters it does not take.
        """
        try:
            listed = await self.http.get(
                f"{self.url}/v1/models", headers=dict(self.headers), timeout=LISTED_WITHIN_S
            )
            listed.raise_for_status()
            present = {str(card["id"]) for card in listed.json()["data"]}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            self._tell(f"its models cannot be listed: {_why(error)}")
            return self._refused.keys() & wanted.keys()
        refused = {}
        for job_id, folder in wanted.items():
            if adapter_name(job_id) not in present and (problem := await self._load(job_id, folder)):
                refused[job_id] = problem
        self._refused = refused
        trouble = next((problem for _, problem in refused.values()), "")
        for job_id in withdrawn:
            if (name := adapter_name(job_id)) in present:
                trouble = await self._post("unload", {"lora_name": name}) or trouble
        self._tell(trouble)
        return refused.keys()

    async def _load(self, job_id: int, folder: Path) -> tuple[float, str] | None:
        """When it was tried and why it failed, if it did."""
        known = self._refused.get(job_id)
        if known is not None and self.timer() - known[0] < TRY_AGAIN_AFTER_S:
            return known
        problem = await self._post("load", {"lora_name": adapter_name(job_id), "lora_path": str(folder)})
        return (self.timer(), problem) if problem else None

    async def _post(self, verb: str, body: Mapping[str, Any]) -> str:
        """What went wrong, if anything."""
        url = f"{self.url}/v1/{verb}_lora_adapter"
        try:
            answer = await self.http.post(url, json=body, headers=dict(self.headers), timeout=LOADED_WITHIN_S)
        except httpx.HTTPError as error:
            return f"{body['lora_name']} cannot be {verb}ed: {_why(error)}"
        if answer.status_code == 404 and '"error"' not in answer.text:  # there is no such path
            return NO_UPDATES
        if problem := _problem_of(verb, answer):
            return f"{body['lora_name']} cannot be {verb}ed: {problem}"
        log.info("%s: %sed %s", self.url, verb, body["lora_name"])
        return ""

    def _tell(self, trouble: str) -> None:
        """Log what is wrong once, and that it is not any more."""
        if trouble != self._told:
            if trouble:
                log.warning("vLLM at %s: %s", self.url, trouble)
            else:
                log.info("vLLM at %s has its adapters", self.url)
            self._told = trouble


def _problem_of(verb: str, answer: httpx.Response) -> str:
    match answer.status_code, answer.text:
        case (200, _):
            return ""
        case (400, text) if verb == "load" and "already" in text:  # another was quicker
            return ""
        case (404, _) if verb == "unload":
            return ""
        case (500, text) if "greater than max_lora_rank" in text:
            return "its --max-lora-rank is too small: raise that, or lower max_lora_r of gate.toml"
        case (status, text):
            return f"{status} {text[:300]}"


def _why(error: Exception) -> str:
    if isinstance(error, httpx.HTTPStatusError):
        return f"status {error.response.status_code}"
    return type(error).__name__
