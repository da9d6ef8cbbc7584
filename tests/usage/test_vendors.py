"""Usage is read in each vendor's words and places."""

import json

import pytest

from llmgate.usage.report import Report, members_of, raw_usage, report_of

COUNTS = {"prompt_tokens": 11, "completion_tokens": 7}


def said(usage: object) -> Report | None:
    return report_of(json.dumps(usage).encode())


@pytest.mark.parametrize(
    ("vendor", "usage", "expected"),
    [
        ("OpenAI", {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}, Report(11, 7)),
        (
            "OpenAI, transcripts",
            {
                "type": "tokens",
                "input_tokens": 14,
                "output_tokens": 45,
                "input_token_details": {"audio_tokens": 14},
            },
            Report(14, 45),
        ),
        (
            "Anthropic",
            {
                "input_tokens": 1,
                "cache_read_input_tokens": 9,
                "cache_creation_input_tokens": 3,
                "output_tokens": 7,
            },
            Report(13, 7, 9),
        ),
        (
            "DeepSeek",
            {
                "prompt_tokens": 12,
                "completion_tokens": 7,
                "prompt_cache_hit_tokens": 8,
                "prompt_cache_miss_tokens": 4,
                "completion_tokens_details": {"reasoning_tokens": 5},
            },
            Report(12, 7, 8, 5),
        ),
        ("DeepSeek", {"prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 4}, Report(12, None, 8)),
        (
            "xAI, whose completion leaves out the thoughts",
            {
                "prompt_tokens": 32,
                "completion_tokens": 9,
                "total_tokens": 135,
                "prompt_tokens_details": {"text_tokens": 32, "cached_tokens": 6},
                "completion_tokens_details": {"reasoning_tokens": 94},
            },
            Report(32, 103, 6, 94),
        ),
        (
            "Gemini by OpenAI's API, where thoughts are in the total alone",
            {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 530},
            Report(10, 520),
        ),
        (
            "Gemini",
            {
                "promptTokenCount": 10,
                "candidatesTokenCount": 20,
                "thoughtsTokenCount": 500,
                "totalTokenCount": 530,
                "cachedContentTokenCount": 4,
            },
            Report(10, 520, 4, 500),
        ),
        (
            "Amazon Bedrock",
            {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12, "cacheReadInputTokens": 0},
            Report(5, 7),
        ),
        (
            "Cohere",
            {
                "billed_units": {"input_tokens": 5, "output_tokens": 7},
                "tokens": {"input_tokens": 71, "output_tokens": 9},
            },
            Report(71, 9),
        ),
        ("Moonshot", {"prompt_tokens": 19, "completion_tokens": 13, "cached_tokens": 12}, Report(19, 13, 12)),
        ("llama.cpp's timings", {"prompt_n": 1, "cache_n": 31, "predicted_n": 8}, Report(32, 8, 31)),
        ("Ollama's own API", {"prompt_eval_count": 26, "eval_count": 298}, Report(26, 298)),
        ("MiniMax", {"total_tokens": 30}, Report(30, 0, undivided=True)),
    ],
)
def test_each_vendors_words(vendor: str, usage: object, expected: Report) -> None:
    assert said(usage) == expected, vendor


@pytest.mark.parametrize(
    "body",
    [
        {"usage": COUNTS},
        {"choices": [{"delta": {}, "finish_reason": "stop", "usage": COUNTS}]},
        {"usage": None, "x_groq": {"id": "r", "usage": COUNTS}},
        {"usage": {}, "timings": {"prompt_n": 11, "predicted_n": 7}},
        {"usageMetadata": {"promptTokenCount": 11, "candidatesTokenCount": 7}},
        {"meta": {"tokens": {"input_tokens": 11, "output_tokens": 7}}},
        {"amazon-bedrock-invocationMetrics": {"inputTokenCount": 11, "outputTokenCount": 7}},
    ],
)
def test_each_place(body: object) -> None:
    """In `usage`, in the choice, in members of the vendor's own."""
    members = members_of(json.dumps(body).encode())
    assert members is not None
    assert report_of(raw_usage(members)) == Report(11, 7)
