"""What the plugin refuses to start on."""

from typing import Any

import pytest

from llmgate.errors import ConfigError
from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import PLUGIN


def settings(**changes: object) -> Any:
    def change(document: dict[str, Any]) -> None:
        document["plugins"][PLUGIN] |= changes

    return change


def hs256(document: dict[str, Any]) -> None:
    document["sessions"]["algorithm"] = "HS256"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (settings(providers={}), "there is none"),
        (settings(providers={"claude": {"model": "m"}}), 'no upstream "claude"'),
        (settings(payment="stripe"), "go together"),
        (settings(stripe={"api_key": "sk", "price": 1}), "go together"),
        (settings(redis_stream="tokens"), "there is no Redis"),
        (settings(webhook={"url": "http://127.0.0.1:1", "secret": "whsec_???"}), "base64"),
        (settings(bucket_leak=0), "bucket_leak"),
        (settings(buckets=1), "buckets"),
        (hs256, "RS256"),
    ],
)
async def test_settings_that_do_not_fit_are_named(
    open_gate: OpenLeakyGate, change: Any, problem: str
) -> None:
    with pytest.raises(ConfigError, match=problem):
        async with open_gate(change):
            pass
