"""What bounds an output, by the words of the request as its backend reads them, and how it is lowered."""

import json

import pytest

from llmgate.backends.dialect import DIALECTS, Dialect
from llmgate.backends.endpoint import Endpoint
from llmgate.backends.output_limit import limit, output_bound
from llmgate.backends.request import ModelRequest, parse_request

VLLM, LLAMA, LLAMA_CPP = DIALECTS["vllm"], DIALECTS["llama_server"], DIALECTS["llama_cpp_python"]


def ask_for(endpoint: Endpoint = Endpoint.CHAT, **fields: object) -> ModelRequest:
    return parse_request(endpoint, json.dumps(fields).encode())


@pytest.mark.parametrize(
    ("dialect", "endpoint", "fields", "changes"),
    [
        (VLLM, Endpoint.CHAT, {"max_tokens": 5}, {}),
        (VLLM, Endpoint.CHAT, {"max_tokens": 50}, {"max_tokens": 10}),
        (VLLM, Endpoint.CHAT, {"max_tokens": 5, "max_completion_tokens": 50}, {"max_completion_tokens": 10}),
        (VLLM, Endpoint.CHAT, {}, {"max_tokens": 10}),
        (DIALECTS["openai"], Endpoint.CHAT, {}, {"max_completion_tokens": 10}),
        (VLLM, Endpoint.RESPONSES, {}, {"max_output_tokens": 10}),
        (VLLM, Endpoint.EMBEDDINGS, {}, {}),
        (LLAMA, Endpoint.CHAT, {"max_tokens": 5, "n_predict": 500}, {"n_predict": 10}),
        (LLAMA_CPP, Endpoint.CHAT, {"max_completion_tokens": 4}, {"max_tokens": 10}),
        (LLAMA_CPP, Endpoint.CHAT, {"max_tokens": 0}, {"max_tokens": 10}),
        (VLLM, Endpoint.COMPLETIONS, {"max_tokens": 0}, {}),
        (LLAMA, Endpoint.MESSAGES, {"n_predict": 5}, {"max_tokens": 10}),  # 313 tokens, seen of its server
        (LLAMA, Endpoint.RESPONSES, {"n_predict": 5}, {}),
        (VLLM, Endpoint.CHAT, {"max_tokens": 1, "max_new_tokens": 4_000}, {"max_new_tokens": 10}),
    ],
)
def test_a_limit_holds_in_the_field_that_the_backend_obeys(
    dialect: Dialect, endpoint: Endpoint, fields: dict[str, object], changes: dict[str, object]
) -> None:
    """None may be evaded by giving the limit twice, as 0, or in a field that is ignored."""
    assert limit(dialect, ask_for(endpoint, **fields), 10) == changes


def test_no_tokens_left_is_no_limit_for_some_so_they_get_one() -> None:
    """llama-cpp-python takes a limit of 0 for none."""
    assert limit(LLAMA_CPP, ask_for(), 0) == {"max_tokens": 1}
    assert limit(VLLM, ask_for(), 0) == {"max_tokens": 0}


@pytest.mark.parametrize(
    ("dialect", "fields", "bound"),
    [
        ("vllm", {"max_tokens": 9}, 9),
        ("vllm", {"max_tokens": 9.0}, 9),
        ("vllm", {}, None),
        ("vllm", {"max_tokens": -1}, None),
        ("vllm", {"max_tokens": 5, "max_completion_tokens": 50}, 50),
        ("vllm", {"n_predict": 5}, None),
        ("llama_server", {"n_predict": 5}, 5),
        ("llama_server", {"n_predict": -1, "max_tokens": 5}, None),
        ("llama_server", {"max_tokens": 0}, 1),
        ("llama_cpp_python", {"max_tokens": 0}, None),
        ("llama_cpp_python", {"max_completion_tokens": 5}, None),
        ("ollama", {"max_tokens": 0}, None),
        ("openai", {"max_completion_tokens": 5}, 5),
        ("generic", {"max_tokens": 0}, None),
        ("generic", {"max_tokens": -1}, None),
        ("generic", {"max_tokens": 5}, 5),
        ("generic", {"max_completion_tokens": 5}, None),
    ],
)
def test_what_a_backend_takes_for_a_bound(dialect: str, fields: dict[str, object], bound: int | None) -> None:
    """0 and -1 bound nothing where they mean "none", nor does a field that the backend does not read; of a
    backend nobody knows the worst is taken."""
    assert output_bound(DIALECTS[dialect], ask_for(**fields)) == bound


def test_what_means_no_limit_comes_down_to_one() -> None:
    """With 10 tokens left, -1 is not passed on."""
    assert limit(LLAMA, ask_for(max_tokens=-1, n_predict=-1), 10) == {"max_tokens": 10, "n_predict": 10}
    assert limit(DIALECTS["generic"], ask_for(max_tokens=0), 10) == {"max_tokens": 10}
