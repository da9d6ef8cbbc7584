"""What a handler is given of a request."""

from typing import Any

import pytest

from llmgate.exchange import Exchange, Principal
from llmgate.plugin.call import Call


async def gone() -> Any:
    return {"type": "http.disconnect"}


def call(**scope: object) -> Call:
    exchange = Exchange("1", 0.0)
    scope = {"type": "http", "headers": [(b"x-note", b"caf\xe9")], "llmgate": exchange, **scope}
    return Call.of(scope, gone)


def test_headers_are_found_by_lower_case_name() -> None:
    assert call().header("x-note") == "café"
    assert call().header("x-other") is None


def test_the_client_has_an_address_unless_it_came_by_a_socket_file() -> None:
    assert call(client=("192.0.2.1", 1)).client == "192.0.2.1"
    assert call(client=None).client is None


def test_the_path_has_its_parameters() -> None:
    assert call(path_params={"id": "1"}).path == {"id": "1"}


def test_who_calls_is_known_where_a_credential_is_required() -> None:
    anybody = call()
    with pytest.raises(AssertionError, match="does not require a credential"):
        _ = anybody.principal
    anybody.exchange.principal = Principal(1, "ada")
    assert anybody.principal.username == "ada"
