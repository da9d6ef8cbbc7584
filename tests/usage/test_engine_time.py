"""What engines say of their own time, and what cannot be believed."""

from __future__ import annotations

import pytest
from msgspec import Raw

from llmgate.usage.engine_time import engine_seconds, times_of

VLLM = b'{"time_to_first_token_ms":85.2,"generation_time_ms":1240.5,"queue_time_ms":9000,"mean_itl_ms":9.1}'
LLAMA = b'{"cache_n":60,"prompt_n":8,"prompt_ms":43.0,"predicted_n":25,"predicted_ms":238.0}'


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        (VLLM, 1.3257),
        (LLAMA, 0.281),
        (b'{"time_to_first_token_ms":20,"generation_time_ms":null}', 0.02),
        (b"null", None),
        (b"{}", None),
        (b"[]", None),
        (b'{"prompt_ms":"1"}', None),
        (b'{"prompt_ms":-5}', None),
        (b'{"prompt_ms":1e300}', None),
        (b"\xff", None),
    ],
)
def test_prompt_and_answer_count_and_the_engines_queue_does_not(raw: bytes, seconds: float | None) -> None:
    found = engine_seconds(Raw(raw))
    assert found == (None if seconds is None else pytest.approx(seconds))


def test_where_they_stand() -> None:
    assert times_of({"metrics": Raw(VLLM), "timings": Raw(LLAMA)}) == Raw(VLLM)
    assert times_of({"timings": Raw(LLAMA)}) == Raw(LLAMA)
    assert engine_seconds(times_of({})) is None
