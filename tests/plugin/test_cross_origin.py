"""Pages of other origins: refused where they would change something, let in where `Cors` says so."""

from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from llmgate.exchange import Exchange
from llmgate.gate.stack import wrap
from llmgate.plugin.cross_origin import Cors, SameOrigin

HERE, APP, EVIL = "http://gate.test", "https://app.example.com", "https://evil.example.com"


async def taken(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-total-count", b"3")]})
    await send({"type": "http.response.body", "body": b"ok"})


def allowing(**settings: Any) -> ASGIApp:
    return wrap(taken, [Cors([APP], **settings).middleware])


async def ask(app: ASGIApp, method: str, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=HERE) as http:
        return await http.request(method, "/", headers=named)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": HERE},
        {"origin": "https://gate.test"},
        {"origin": HERE.upper(), "sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": APP},
        {"origin": APP, "sec_fetch_site": "cross-site"},
    ],
)
async def test_own_pages_programs_and_trusted_origins_may_write(headers: dict[str, str]) -> None:
    """A proxy may have taken TLS away: the scheme of the origin is not compared."""
    assert (await ask(SameOrigin(taken, trusted=[APP]), "POST", **headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": EVIL},
        {"origin": "null"},
        {"origin": "http://gate.test:81"},
        {"sec_fetch_site": "cross-site"},
        {"origin": HERE, "sec_fetch_site": "same-site"},
        {"origin": "http://gate.test.evil.example.com"},
        {"origin": "http://["},
        {"origin": "http://gate.test@evil.example.com"},
        {"origin": "ftp://gate.test"},
        {"origin": "null", "host": ""},
        {"origin": "http://", "host": ""},
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_other_pages_may_not_write(method: str, headers: dict[str, str]) -> None:
    """Whatever they send along: a cookie, or nothing at a gate that only this browser can reach."""
    answer = await ask(SameOrigin(taken, trusted=[APP]), method, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_origin")


async def test_reading_is_left_to_cors() -> None:
    assert (await ask(SameOrigin(taken), "GET", origin=EVIL, sec_fetch_site="cross-site")).status_code == 200


async def test_a_websocket_of_another_page_is_not_opened() -> None:
    """No preflight stands before it."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"gate.test"), (b"origin", EVIL.encode())]
    scope = {"type": "websocket", "headers": headers, "llmgate": Exchange("1", 0.0)}

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    await SameOrigin(taken)(scope, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]


async def test_an_allowed_origin_is_told_so() -> None:
    """With the headers that its page may read, and that cookies may come."""
    answer = await ask(allowing(exposed=["X-Total-Count"]), "GET", origin=APP)
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-expose-headers"] == "X-Total-Count"
    assert "origin" in answer.headers["vary"].lower()


async def test_a_preflight_is_answered() -> None:
    """Any method, any header, for an origin that is allowed."""
    app = allowing()
    asked = {"access_control_request_method": "DELETE", "access_control_request_headers": "X-Api-Key"}
    answer = await ask(app, "OPTIONS", origin=APP, **asked)
    assert answer.status_code == 200
    assert "DELETE" in answer.headers["access-control-allow-methods"]
    assert "x-api-key" in answer.headers["access-control-allow-headers"].lower()
    refused = await ask(app, "OPTIONS", origin=EVIL, **asked)
    assert refused.status_code == 400
    assert "access-control-allow-origin" not in refused.headers


async def test_another_origin_is_told_nothing() -> None:
    answer = await ask(allowing(), "GET", origin=EVIL)
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["*", "app.example.com", "https://app.example.com/", "https://a.example.com/x"]
)
def test_what_is_no_origin_is_refused(origin: str) -> None:
    """At start-up: no browser would ever send it."""
    with pytest.raises(ValueError, match=r"reads like https://app\.example\.com"):
        Cors([origin])
