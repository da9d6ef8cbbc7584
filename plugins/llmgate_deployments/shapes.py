"""What all parts of the surface share: how the guide writes times and errors, and what a path or query names."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from llmgate.plugin.api import Answer, Detail, Refusal, UpstreamFailed, detail_shape

GUIDES_STATUS: Mapping[type[Refusal], int] = MappingProxyType({UpstreamFailed: 500})
"""Where the guide has one status of its own: a deployment that does not answer is a server error."""


def guides_shape(refusal: Refusal) -> Answer:
    """Errors as the guide's clients know them: `{"detail": "..."}`."""
    status, headers, body = detail_shape(refusal)
    return GUIDES_STATUS.get(type(refusal), status), headers, body


def answers(status: int, success: Any, *refusals: int) -> dict[int, Any]:
    """The answers of an operation: what it gives, and the refusals besides those that any like it may meet."""
    return {status: success, **dict.fromkeys(refusals, Detail)}
