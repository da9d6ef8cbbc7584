"""What is known of each backend family, as data: how it reports usage, and where its other endpoints are.

vLLM, llama.cpp's server and llama-cpp-python are described from captured answers (`tests/data/captures`),
and tests hold the two together. OpenAI and Ollama were not captured: theirs follow the vendors' references.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from .endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

_CHAT = frozenset({Endpoint.CHAT})
_CHAT_AND_COMPLETIONS = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS})
_BOTH = ("max_tokens", "max_completion_tokens")
_ONLY_NEGATIVE = frozenset({-1})
_TIMED = frozenset({Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.RESPONSES})
_HOSTED_RATE = 100
"""What hosted models that think before they speak make in a second, give or take a factor of two."""
_NOWHERE: frozenset[Endpoint] = frozenset()


@dataclass(frozen=True, slots=True, eq=False)
class Dialect:
    """How one family of backends speaks. The defaults are what may be assumed of a backend nobody knows."""

    name: str
    include_usage: frozenset[Endpoint] = _NOWHERE
    """Endpoints whose streams report usage only if `stream_options.include_usage` asks for it."""
    continuous: bool = False
    """Knows `stream_options.continuous_usage_stats`: every chunk says how far its choice has come."""
    timings_per_token: frozenset[Endpoint] = _NOWHERE
    """Endpoints whose streams say with every chunk how far they are if a member of this name asks for it."""
    counts_running: frozenset[Endpoint] = _NOWHERE
    """Endpoints whose streams, asked so, have a count at any time; of others only the end tells."""
    drain: float = 2.0
    """Seconds for which a stream that its client has left is read on, if its count is still to come."""
    plain_drain: float = 2.0
    """The same of an answer that is no stream, whether it has begun or not."""
    hidden_rate: int = 0
    """Tokens a second that its models may think where no chunk shows it; 0: thoughts are in chunks, or counted."""
    moves_to_usage: tuple[str, ...] = ()
    """Members that a stream carries on its terminal chunk, but on the usage event once that is asked for."""
    sums_choices: bool = True
    """The final usage covers every choice; otherwise each report covers one choice and its prompt only."""
    chat_limits: tuple[str, ...] = ("max_tokens",)
    """Fields that bound the output of a chat here; the first is the one to add where none was given."""
    own_limits: tuple[str, ...] = ()
    """Fields that bound any output here but that of messages, and nowhere else."""
    no_limit: frozenset[int] = frozenset({0, -1})
    """Values of an output limit that mean none; of a backend nobody knows, all that do somewhere."""
    models_path: str = "/v1/models"
    health_path: str | None = None
    count_path: str | None = None
    """Answers `{"input_tokens": n}` to a POST of an Anthropic messages body."""
    tokenize_path: str | None = None
    """Answers `{"count": n}` to a POST of a chat or completions body."""
    prompt_counter: str | None = None
    """Prometheus counter of prompt tokens; `cached_counter` has those it leaves out, of the cache, if any."""
    counts_prompts_per_choice: bool = False
    """That counter counts the prompt of a request with `n` > 1 once for each choice."""
    cached_counter: str | None = None
    output_counter: str | None = None
    """Prometheus counter of generated tokens."""
    request_id_must_be_uuid: bool = False
    """Answers 400 to an `X-Request-Id` that is not a UUID."""


_VLLM = Dialect(
    # main/chat_stream.txt ends in a chunk with `system_fingerprint`; in chat_stream_usage.txt the usage
    # event has it. main/chat_stream_usage_n2.txt: one sum over both choices.
    name="vllm",
    include_usage=_CHAT_AND_COMPLETIONS,
    continuous=True,
    counts_running=_CHAT_AND_COMPLETIONS,
    moves_to_usage=("system_fingerprint",),
    chat_limits=_BOTH,
    no_limit=_ONLY_NEGATIVE,
    health_path="/health",
    count_path="/v1/messages/count_tokens",
    tokenize_path="/tokenize",
    prompt_counter="vllm:prompt_tokens_total",
    counts_prompts_per_choice=True,
    output_counter="vllm:generation_tokens_total",
)
_LLAMA_SERVER = Dialect(
    # completions_stream.txt: text completions report unasked, on the terminal chunk. chat_stream.txt and
    # chat_stream_usage.txt: `timings` move. chat_n2_logprobs.txt and completions_list_n.txt: two choices of
    # three tokens each reported as 3; chat_stream_usage_n2.txt: one usage event for each choice. A limit of -1
    # is none (its README; lower ones are 400, err_negative_max_tokens.txt), one of 0 makes a token. Asked for
    # timings, a stream of messages loses its first event (b1 of October 2026), so they are not asked for there.
    name="llama_server",
    include_usage=_CHAT,
    timings_per_token=_TIMED,
    counts_running=_TIMED,
    moves_to_usage=("timings",),
    sums_choices=False,
    chat_limits=_BOTH,
    own_limits=("n_predict",),
    no_limit=_ONLY_NEGATIVE,
    health_path="/health",
    count_path="/v1/messages/count_tokens",
    prompt_counter="llamacpp:prompt_tokens_total",
    cached_counter="llamacpp:prompt_tokens_cached_total",
    output_counter="llamacpp:tokens_predicted_total",
)
_LLAMA_CPP_PYTHON = Dialect(
    # chat_stream_usage.txt: asked for usage, and none came. chat_mct.txt: 46 tokens where
    # `max_completion_tokens` said 4. err_negative_max_tokens.txt: a limit under 1 is none. reqid.txt: 400 to
    # the request id "my-id-123".
    name="llama_cpp_python",
    drain=0.0,  # nothing is to come, and a chunk is a token
    plain_drain=60.0,  # disconnect.txt: it makes a plain answer to its end, whoever has left
    request_id_must_be_uuid=True,
)
_OPENAI = Dialect(
    # https://platform.openai.com/docs/api-reference/chat/create: `max_tokens` is deprecated, and refused by
    # reasoning models.
    name="openai",
    include_usage=_CHAT_AND_COMPLETIONS,
    chat_limits=("max_completion_tokens", "max_tokens"),
    hidden_rate=_HOSTED_RATE,
)
_OLLAMA = Dialect(
    # Ollama's openai/openai.go reads `max_tokens` alone; its runners apply a limit only if it is over 0.
    name="ollama",
    drain=0.0,  # a chunk is a token, thoughts are chunks, and its runner is stopped by nothing else
    plain_drain=0.0,
    include_usage=_CHAT_AND_COMPLETIONS,
    health_path="/",
)
_GENERIC = Dialect(name="generic", hidden_rate=_HOSTED_RATE)

DIALECTS: Mapping[str, Dialect] = MappingProxyType(
    {
        dialect.name: dialect
        for dialect in (_VLLM, _LLAMA_SERVER, _LLAMA_CPP_PYTHON, _OPENAI, _OLLAMA, _GENERIC)
    }
)
"""Every dialect by the name that gate.toml gives it."""
