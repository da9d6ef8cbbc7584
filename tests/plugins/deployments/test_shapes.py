"""Errors as the guide has them."""

import httpx
import pytest
from servers import refused_url

from .conftest import CHAT, HELLO, Ollama, add


@pytest.mark.parametrize(
    ("status", "body", "told", "detail"),
    [
        (400, b'{"error":{"message":"too long"}}', 400, "too long"),
        (404, b'{"error":"model not found"}', 404, "model not found"),
        (422, b'{"detail":"bad field"}', 400, "bad field"),
        (429, b"", 429, "too much to do"),
        (401, b'{"error":{"message":"bad key sk-123"}}', 500, "status 401"),
        (500, b"Traceback", 500, "status 500"),
        (503, b"<html>", 500, "status 503"),
        (200, b"<html>", 500, ""),
        (200, b'{"choices":[]}', 500, ""),
        (204, b"", 500, ""),
        (302, b"", 500, "status 302"),
    ],
)
@pytest.mark.parametrize("path", ["", "/stream"])
async def test_errors_of_a_deployment_have_the_guides_statuses(  # noqa: PLR0917 - the case's parts
    http: httpx.AsyncClient,
    user: dict[str, str],
    deployment: int,
    ollama: Ollama,
    path: str,
    status: int,
    body: bytes,
    told: int,
    detail: str,
) -> None:
    """401, 404, 429 and 500, and 400 for what the model cannot read; its secrets stay inside."""
    ollama.status, ollama.script, ollama.kind = status, body, b"application/json"
    answer = await http.post(CHAT + path, headers=user, json=HELLO)
    assert answer.status_code == told
    assert detail in answer.json()["detail"]
    assert "sk-123" not in answer.text


async def test_a_deployment_that_is_away_is_500(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """The guide's server error, without its address."""
    url = await refused_url()
    await add(http, admin, url)
    for body in (HELLO, {**HELLO, "deployment_id": 1}):
        answer = await http.post(CHAT, headers=admin, json=body)
        assert answer.status_code == 500
        assert url.rpartition(":")[2] not in answer.text
