"""One line for each request, whatever stands in it."""

import io

import msgspec
import pytest
from playbook import scope_of

from llmgate.exchange import Exchange
from llmgate.observability.access_log import AccessLog


def test_no_line_is_broken_by_what_a_client_sends() -> None:
    out = io.BytesIO()
    log = AccessLog(out)
    for path in ("/a\nb", '/"}{', "/\u2028\x00\x1b[2J", "/\ufffd"):
        log.write(scope_of("GET", path), Exchange("1", 0.0), 1.0)
    written = out.getvalue().splitlines()
    assert [msgspec.json.decode(line)["path"] for line in written] == [
        "/a\nb",
        '/"}{',
        "/\u2028\x00\x1b[2J",
        "/\ufffd",
    ]


def test_nothing_of_headers_query_or_body_is_written() -> None:
    out = io.BytesIO()
    scope = scope_of("GET", "/v1", {"authorization": "Bearer geheim"}, query_string=b"key=geheim")
    AccessLog(out).write(scope, Exchange("1", 0.0, _body=b"geheim"), 1.0)
    assert b"geheim" not in out.getvalue()


def test_a_log_that_cannot_be_written_costs_lines_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    class Full(io.BytesIO):
        full = True

        def write(self, line: object) -> int:
            if self.full:
                raise OSError(28, "No space left on device")
            return super().write(line)  # type: ignore[arg-type]

    out = Full()
    log = AccessLog(out)
    for _ in range(3):
        log.write(scope_of(), Exchange("1", 0.0), 1.0)
    assert len(caplog.records) == 1
    out.full = False
    log.write(scope_of(), Exchange("2", 0.0), 1.0)
    assert msgspec.json.decode(out.getvalue())["request_id"] == "2"
