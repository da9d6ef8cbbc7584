"""Endpoints are words, as records and metrics have them."""

from llmgate.backends.endpoint import Endpoint


def test_an_endpoint_is_its_word() -> None:
    """It can be looked up by, and next to, strings."""
    assert {Endpoint.CHAT: 1}["chat"] == 1
    assert Endpoint("messages") is Endpoint.MESSAGES
    assert len(set(Endpoint)) == len({str(endpoint) for endpoint in Endpoint})
