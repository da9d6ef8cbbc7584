"""The client for what is not the data path: made late, once, and closed."""

from llmgate.gate.http_client import HttpClient


async def test_it_is_made_when_it_is_asked_for_and_closed_with_its_owner() -> None:
    unasked, asked = HttpClient(), HttpClient()
    client = asked.get()
    assert asked.get() is client
    for each in (unasked, asked):
        await each.aclose()
    assert client.is_closed
    assert unasked._client is None
