"""The gate's own questions to the app that it is put around."""

import asyncio

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from llmgate.proxy.asgi_transport import AsgiTransport
from llmgate.proxy.asgi_upstream import ORIGIN


async def test_an_app_that_hangs_does_not_hold_the_gates_own_questions() -> None:
    """httpx's transport for apps would wait for ever."""

    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    async with httpx.AsyncClient(transport=AsgiTransport(hangs)) as http:
        with pytest.raises(httpx.ReadTimeout, match=r"0\.01 s"):
            await http.get(ORIGIN, timeout=0.01)


async def test_an_app_that_breaks_is_an_answer_to_the_gate() -> None:
    """500, as a server would have made of it."""

    async def breaks(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("broken")

    async with httpx.AsyncClient(transport=AsgiTransport(breaks)) as http:
        assert (await http.get(ORIGIN)).status_code == 500
