"""Adapters on vLLM, which loads them while it runs (VLLM_ALLOW_RUNTIME_LORA_UPDATING) and forgets them when it ends."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
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


def adapter_name(job_id: int) -> str:
    """What vLLM calls the adapter of a job. Never given to another: vLLM keeps prefixes by this name."""
    return f"llmgate-job-{job_id}"


@dataclass(slots=True)
class Replica:
    """One vLLM, and what was said of it last."""

    http: httpx.AsyncClient
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    _told: str = ""

    async def reconcile(self, wanted: Mapping[int, Path], withdrawn: Iterable[int]) -> None:
        """Let it have the adapters of these jobs, in these folders as it sees them, and none of those withdrawn."""
        try:
            listed = await self.http.get(
                f"{self.url}/v1/models", headers=dict(self.headers), timeout=LISTED_WITHIN_S
            )
            listed.raise_for_status()
            present = {str(card["id"]) for card in listed.json()["data"]}
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            self._tell(f"its models cannot be listed: {type(error).__name__}")
            return
        trouble = ""
        for job_id, folder in wanted.items():
            if (name := adapter_name(job_id)) not in present:
                trouble = await self._post("load", {"lora_name": name, "lora_path": str(folder)}) or trouble
        for job_id in withdrawn:
            if (name := adapter_name(job_id)) in present:
                trouble = await self._post("unload", {"lora_name": name}) or trouble
        self._tell(trouble)

    async def _post(self, verb: str, body: Mapping[str, Any]) -> str:
        """What went wrong, if anything."""
        url = f"{self.url}/v1/{verb}_lora_adapter"
        try:
            answer = await self.http.post(url, json=body, headers=dict(self.headers), timeout=LOADED_WITHIN_S)
        except httpx.HTTPError as error:
            return f"{body['lora_name']} cannot be {verb}ed: {type(error).__name__}"
        if answer.is_success or (
            answer.status_code == 400 and "already" in answer.text
        ):  # another was quicker
            log.info("%s: %sed %s", self.url, verb, body["lora_name"])
            return ""
        if answer.status_code == 404 and "lora_path" not in answer.text and "No adapter" not in answer.text:
            return (
                "it loads no adapters: start it with --enable-lora and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
            )
        return f"{body['lora_name']} cannot be {verb}ed: {answer.status_code} {answer.text[:300]}"

    def _tell(self, trouble: str) -> None:
        """Log what is wrong once, and that it is not any more."""
        if trouble != self._told:
            if trouble:
                log.warning("vLLM at %s: %s", self.url, trouble)
            else:
                log.info("vLLM at %s has its adapters", self.url)
            self._told = trouble
