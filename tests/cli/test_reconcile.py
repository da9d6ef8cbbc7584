import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cli.conftest import Cli

METRICS = "llamacpp:prompt_tokens_total 5\nllamacpp:prompt_tokens_cached_total 1\nllamacpp:tokens_predicted_total {}\n"


@contextmanager
def backend(*counts: int) -> Iterator[str]:
    """The URL of a server whose metrics tell of the next of `counts` each time."""
    left = iter(counts)

    class Backend(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = METRICS.format(next(left)).encode() if self.path == "/metrics" else b""
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing on stderr."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_reconcile_shows_both_sides_and_the_difference(
    llmgate: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmgate.observability.reconcile.SETTLE_FOR", 0.0)
    with backend(7, 10) as url:
        file = folder / "gate.toml"
        file.write_text(file.read_text().replace("http://127.0.0.1:9", url))
        rows = llmgate.json("reconcile", "--window", "0.001")
    assert rows == [
        {"upstream": "local", "direction": "input", "backend": 0, "ledger": 0, "drift": 0},
        {"upstream": "local", "direction": "output", "backend": 3, "ledger": 0, "drift": 3},
    ]


def test_an_upstream_that_is_not_there_is_named_with_those_that_are(llmgate: Cli) -> None:
    said = llmgate("reconcile", "--upstream", "vlm", code=1).stderr
    assert 'no upstream "vlm"' in said
    assert "local" in said


def test_a_backend_that_does_not_answer_is_a_refusal(llmgate: Cli) -> None:
    assert "http://127.0.0.1:9/metrics" in llmgate("reconcile", "--window", "0.001", code=1).stderr
