"""Small things as they look on the wire."""

import pytest

from llmgate.errors import Unavailable
from llmgate.server.wire import access_line, address_of, refusal_bytes


@pytest.mark.parametrize(
    ("name", "address"),
    [(("::1", 80, 0, 0), ("::1", 80)), ("/run/x", ("/run/x", None)), ("", None), (None, None)],
)
def test_an_address_is_what_asgi_has(name: object, address: object) -> None:
    assert address_of(name) == address


def test_a_refusal_is_a_whole_answer_that_closes() -> None:
    head, _, body = refusal_bytes(Unavailable("Full.")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert head.endswith(b"content-length: %d\r\nconnection: close" % len(body))


def test_a_line_is_what_uvicorns_formatter_takes() -> None:
    scope = {
        "client": ("192.0.2.1", 5),
        "method": "GET",
        "path": "/a b",
        "query_string": b"x=1",
        "http_version": "1.1",
    }
    text, *values = access_line(scope, 200)
    assert text % tuple(values) == '192.0.2.1:5 - "GET /a%20b?x=1 HTTP/1.1" 200'
