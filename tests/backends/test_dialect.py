"""The table of dialects agrees with the captured answers of the backends it describes."""

import pytest
from usage.captures import load

from llmgate.backends.dialect import DIALECTS
from llmgate.backends.endpoint import Endpoint


def test_every_dialect_is_found_by_its_name() -> None:
    """The names of gate.toml."""
    names = {"vllm", "llama_server", "llama_cpp_python", "openai", "ollama", "generic"}
    assert {name: dialect.name for name, dialect in DIALECTS.items()} == {name: name for name in names}


@pytest.mark.parametrize(("folder", "name"), [("vllm/main", "vllm"), ("llama_server", "llama_server")])
def test_paths_and_counters_are_the_backends_own(folder: str, name: str) -> None:
    """Each answered 200 when it was captured, and the metrics have the counters."""
    dialect = DIALECTS[name]
    doors = {
        "models": dialect.models_path,
        "health": dialect.health_path,
        "messages_count": dialect.count_path,
    }
    for file, path in doors.items():
        capture = load(f"{folder}/{file}.txt")
        assert (capture.path, capture.status) == (path, 200)
    metrics = load(f"{folder}/metrics.txt").answer.decode()
    for counter in (dialect.prompt_counter, dialect.cached_counter, dialect.output_counter):
        assert counter is None or f"# TYPE {counter} counter" in metrics


@pytest.mark.parametrize(("folder", "name"), [("vllm/main", "vllm"), ("llama_cpp", "llama_cpp_python")])
def test_who_knows_include_usage(folder: str, name: str) -> None:
    """The stream with include_usage has usage in it, if the dialect says so."""
    for file, endpoint in (("chat", Endpoint.CHAT), ("completions", Endpoint.COMPLETIONS)):
        has_usage = b'"usage":{' in load(f"{folder}/{file}_stream_usage.txt").answer
        assert has_usage is (endpoint in DIALECTS[name].include_usage)


def test_llama_server_reports_text_completions_unasked() -> None:
    """So nothing is injected there, and nothing stripped."""
    assert b'"usage":{' in load("llama_server/completions_stream.txt").answer
    assert DIALECTS["llama_server"].include_usage == {Endpoint.CHAT}


def test_request_ids() -> None:
    """llama-cpp-python refuses what is no UUID; the others take it."""
    for folder, name in (
        ("vllm/main", "vllm"),
        ("llama_server", "llama_server"),
        ("llama_cpp", "llama_cpp_python"),
    ):
        assert (load(f"{folder}/reqid.txt").status == 400) is DIALECTS[name].request_id_must_be_uuid
