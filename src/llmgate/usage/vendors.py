"""Where vendors put usage, and what they call its numbers.

Sources: the references of OpenAI, Anthropic, Google (Gemini, and its OpenAI-compatible endpoint), Mistral, Cohere,
Amazon Bedrock, DeepSeek, xAI, Moonshot, Groq, Ollama; vLLM and llama.cpp from captured answers.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

INPUT = (
    "prompt_tokens",
    "input_tokens",
    "promptTokenCount",
    "prompt_token_count",
    "inputTokens",
    "inputTokenCount",
    "prompt_eval_count",
)
OUTPUT = (
    "completion_tokens",
    "output_tokens",
    "predicted_n",
    "candidatesTokenCount",
    "candidates_token_count",
    "outputTokens",
    "outputTokenCount",
    "eval_count",
    "generated_tokens",
)
TOTAL = ("total_tokens", "totalTokenCount", "total_token_count", "totalTokens")
LEFT_OUT: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "input_tokens": ("cache_read_input_tokens", "cache_creation_input_tokens"),  # Anthropic
        "inputTokens": ("cacheReadInputTokens", "cacheWriteInputTokens"),  # Amazon Bedrock
    }
)
"""Input that a count of input leaves out: that of the cache."""
SUMS = (("prompt_n", "cache_n"), ("prompt_cache_hit_tokens", "prompt_cache_miss_tokens"))
"""Counts whose sum is the input where no name of `INPUT` is there: llama.cpp's timings, DeepSeek."""
INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
CACHED = (
    "cached_tokens",
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
    "cachedContentTokenCount",
    "cached_content_token_count",
    "cacheReadInputTokens",
    "cache_n",
)
OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
REASONING = ("reasoning_tokens", "thoughtsTokenCount", "thoughts_token_count")
NESTED = ("tokens", "billed_units")
"""Cohere has its counts one level down."""
PLACES = (
    ("usageMetadata",),  # Gemini
    ("usage_metadata",),
    ("x_groq", "usage"),  # Groq's streams
    ("meta",),  # Cohere's ranking
    ("amazon-bedrock-invocationMetrics",),
    ("timings",),  # llama.cpp: counts the same tokens, asked for or not (llama_server/chat_stream.txt)
)
"""Where usage stands if not in `usage`."""
PLACE_NAMES = frozenset(place[0] for place in PLACES)
