"""Consuming in front of a real model."""

from typing import Any

from plugins.leaky_tokens.conftest import OpenLeakyGate
from plugins.leaky_tokens.gate import PLUGIN


async def test_a_real_model_answers_and_exactly_the_tokens_are_charged(
    open_gate: OpenLeakyGate, llama: str
) -> None:
    """llama.cpp's server: its answer is at most as long as what was bought; the record has its own counts."""

    def real(document: dict[str, Any]) -> None:
        document["upstreams"]["openai"] = {"urls": [llama], "dialect": "llama_server"}
        document["plugins"][PLUGIN]["providers"]["openai"]["model"] = "smollm2"

    async with open_gate(real) as running:
        account = await running.account()
        answer = await running.consume(account, 20, prompt="Explain quantum computing in simple terms")
        assert answer.status_code == 200, answer.text
        said = answer.json()["providerResponse"]
        assert said["id"]
        assert said["message"]
        (record,) = await running.records()
        assert 0 < record.output_tokens <= 20
        assert record.input_tokens > 5
        assert (record.certainty, record.booked) == ("exact", 20)
        assert await running.left(account) == 980
