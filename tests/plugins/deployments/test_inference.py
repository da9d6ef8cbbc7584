"""Chats: by session, by key and as a stream; which deployment answers; what the ledger has of it."""

import asyncio
import contextlib
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Peer, ScriptedUpstream, connect, refused_url, serve
from stores import Clock

from llmgate.errors import AnswerCut
from llmgate.ledger import Allotment, Filter, Outcome, Subject, Unit
from llmgate.usage.sse import EventSplitter, data_of
from llmgate_deployments.translation import Texts, events_of
from plugins.conftest import Running

from .conftest import ADA, API, HELLO, Ollama, OpenBku, add, key_of, log_in

CHAT = f"{API}/inference/chat"


async def test_a_chat_answers_with_content(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """And with what it used, as the model reported it."""
    answer = await http.post(CHAT, headers=user, json={**HELLO, "deployment_id": deployment})
    assert answer.status_code == 200
    assert answer.json() == {
        "content": "Hello there!",
        "model": "llama2",
        "deployment_id": deployment,
        "finish_reason": "stop",
        "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
        "created_at": "2027-01-15T08:00:00",
    }
    assert ollama.asked == [{"model": "llama2", "messages": HELLO["messages"]}]


async def test_a_chat_by_key_needs_the_key(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int
) -> None:
    """In X-API-Key; a session is no key."""
    key = {"X-API-Key": await key_of(http, user)}
    answer = await http.post(f"{CHAT}/api-key", headers=key, json={**HELLO, "deployment_id": None})
    assert (answer.status_code, answer.json()["content"]) == (200, "Hello there!")
    assert (await http.post(f"{CHAT}/api-key", headers=user, json=HELLO)).status_code == 401


async def test_options_reach_the_model_and_nothing_else_does(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """Neither credentials, cookies and unknown fields nor the query."""
    options = {"temperature": 0.5, "top_p": 0.9, "max_tokens": 5}
    headers = {**user, "Cookie": "access_token=secret", "X-Private": "secret"}
    body = {**HELLO, **options, "tools": ["secret"], "n": 100}
    assert (await http.post(f"{CHAT}?secret=1", headers=headers, json=body)).status_code == 200
    [asked] = ollama.asked
    assert {name: asked[name] for name in options} == options
    assert asked.keys() <= {"model", "messages", "stream", *options}
    assert not any(b"secret" in value for value in ollama.came[0].values())


@pytest.mark.parametrize(
    "changed",
    [
        {"messages": []}, {"messages": "Hello"}, {"messages": [{"role": "user"}]}, {"model": ""}, {"model": None},
        {"messages": [{"role": "", "content": ""}]}, {"deployment_id": "1"}, {"deployment_id": 1.5},
        {"max_tokens": 0}, {"temperature": -1}, {"model": "x" * 1000}, {"top_p": 2},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("path", ["", "/stream"])
async def test_a_chat_that_cannot_be_read_is_400(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, changed: dict[str, Any], path: str
) -> None:
    """And does not reach the deployment."""
    answer = await http.post(CHAT + path, headers=user, json={**HELLO, **changed})
    assert (answer.status_code, list(answer.json())) == (400, ["detail"])


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"model": NaN}', b'{"model": "a", "model": "b"}'])
async def test_what_is_no_json_object_is_400(
    http: httpx.AsyncClient, user: dict[str, str], body: bytes
) -> None:
    """Nor is an object that says a thing twice."""
    assert (await http.post(CHAT, headers=user, content=body)).status_code == 400


@pytest.mark.parametrize("number", [2, 999, -1, 2**62])
async def test_an_unknown_deployment_is_404(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, number: int
) -> None:
    """As the guide says."""
    answer = await http.post(CHAT, headers=user, json={**HELLO, "deployment_id": number})
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])


@pytest.mark.parametrize("number", [None, 1])
async def test_an_unknown_model_is_404(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, number: int | None, ollama: Ollama
) -> None:
    """Whether or not a deployment is named."""
    body = {**HELLO, "model": "unknown", "deployment_id": number}
    assert (await http.post(CHAT, headers=user, json=body)).status_code == 404
    assert ollama.asked == []


async def test_a_name_without_a_tag_means_the_latest(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """As it does for Ollama, which gets the name as it was written."""
    assert (await http.post(CHAT, headers=user, json={**HELLO, "model": "mistral"})).status_code == 200
    assert ollama.asked[0]["model"] == "mistral"


async def test_the_first_deployment_that_has_the_model_answers(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """Where none is named; one that is away is passed over."""
    second = Ollama(models=["llama2", "qwen"], texts=["second"])
    async with serve(second) as url:
        await add(http, admin, await refused_url(), "away")
        number = (await add(http, admin, url, "second")).json()["id"]

        async def answered(model: str) -> Any:
            answer = await http.post(CHAT, headers=admin, json={**HELLO, "model": model})
            return answer.json().get("deployment_id")

        assert await answered("llama2") == deployment
        assert await answered("qwen") == number
        await http.delete(f"{API}/deployments/{deployment}", headers=admin)
        assert await answered("llama2") == number


async def test_models_are_asked_for_now_and_then(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int, ollama: Ollama, clock: Clock
) -> None:
    """Not for every chat; a new one is known after ten seconds."""
    await http.post(CHAT, headers=user, json=HELLO)
    listed = ollama.listed
    for _ in range(3):
        await http.post(CHAT, headers=user, json=HELLO)
    ollama.models = ["new"]
    assert (await http.post(CHAT, headers=user, json={**HELLO, "model": "new"})).status_code == 404
    clock.pass_by(10)
    assert (await http.post(CHAT, headers=user, json={**HELLO, "model": "new"})).status_code == 200
    assert ollama.listed <= listed + 2  # one of them may be a probe


async def test_models_of_one_deployment_or_of_all(
    http: httpx.AsyncClient, admin: dict[str, str], deployment: int
) -> None:
    """Each name once; one that is away has none to offer."""
    url = f"{API}/inference/models"
    async with serve(Ollama(models=["qwen", "llama2"])) as other:
        number = (await add(http, admin, other, "other")).json()["id"]
        away = (await add(http, admin, await refused_url(), "away")).json()["id"]
        assert (await http.get(url, headers=admin)).json() == {"models": ["llama2", "mistral:latest", "qwen"]}
        for asked, models in ((deployment, ["llama2", "mistral:latest"]), (number, ["qwen", "llama2"])):
            answer = await http.get(url, headers=admin, params={"deployment_id": asked})
            assert answer.json() == {"models": models}
        assert (await http.get(url, headers=admin, params={"deployment_id": away})).status_code == 500
        assert (await http.get(url, headers=admin, params={"deployment_id": 99})).status_code == 404
        assert (await http.get(url, headers=admin, params={"deployment_id": "x"})).status_code == 400


async def test_models_where_there_are_none(
    http: httpx.AsyncClient, admin: dict[str, str], ollama: Ollama
) -> None:
    """404 without a deployment; an empty Ollama has an empty list."""
    url = f"{API}/inference/models"
    assert (await http.get(url, headers=admin)).status_code == 404
    ollama.models = None
    await add(http, admin, ollama.url)
    assert (await http.get(url, headers=admin)).json() == {"models": []}


# --- errors of the deployment


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


async def test_an_answer_that_breaks_off_is_500(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Nothing had been sent yet; the ledger knows that it was aborted."""

    async def breaks(peer: Peer) -> None:
        head, _ = await peer.request()
        if b"/models" in head.partition(b"\r\n")[0]:
            await peer.answer(b'{"data":[{"id":"llama2"}]}', headers=b"connection: close\r\n")
        else:
            await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")

    async with ScriptedUpstream(breaks) as server:
        await add(http, admin, server.url)
        answer = await http.post(CHAT, headers=admin, json=HELLO)
    assert (answer.status_code, list(answer.json())) == (500, ["detail"])


# --- streams


async def test_a_stream_is_lines_of_text(
    http: httpx.AsyncClient, user: dict[str, str], deployment: int
) -> None:
    """And the guide's end."""
    answer = await http.post(f"{CHAT}/stream", headers=user, json=HELLO)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text == "data: Hello\n\ndata:  there\n\ndata: !\n\ndata: [DONE]\n\n"


async def test_a_chunk_goes_out_when_it_comes(http: httpx.AsyncClient, admin: dict[str, str]) -> None:
    """Before the next one is there."""
    go = asyncio.Event()

    async def slowly(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            if b"/models" in head.partition(b"\r\n")[0]:
                await peer.answer(b'{"data":[{"id":"llama2"}]}')
                continue
            await peer.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            await peer.chunk(b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n')
            await go.wait()
            await peer.chunk(b'data: {"choices":[{"delta":{"content":"two"}}]}\n\ndata: [DONE]\n\n')
            await peer.chunk(b"")

    async with ScriptedUpstream(slowly) as server:
        await add(http, admin, server.url)
        async with http.stream("POST", f"{CHAT}/stream", headers=admin, json=HELLO) as answer:
            pieces = answer.aiter_text()
            assert await anext(pieces) == "data: one\n\n"
            go.set()
            assert "".join([piece async for piece in pieces]) == "data: two\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize(
    "end",
    [
        b"",
        b'data: {"error":{"message":"out of memory"}}\n\n',
        b"data: not JSON\n\n",
        b'data: {"choices":[{"delta":{"content":1}}]}\n\n',
    ],
)
async def test_a_stream_that_does_not_end_well_does_not_look_ended(
    running: Running, user: dict[str, str], deployment: int, ollama: Ollama, end: bytes
) -> None:
    """Its connection is closed without the last chunk, and `[DONE]` is not said."""
    ollama.script = b'data: {"choices":[{"delta":{"content":"Hel"}}]}\n\n' + end
    seen = ""
    with pytest.raises(httpx.RemoteProtocolError):
        async with running.http.stream("POST", f"{CHAT}/stream", headers=user, json=HELLO) as answer:
            async for piece in answer.aiter_text():
                seen += piece
    assert seen in ("", "data: Hel\n\n")


async def test_who_leaves_a_stream_ends_it_upstream(running: Running, admin: dict[str, str]) -> None:
    """At once, and the ledger says aborted."""
    gone = asyncio.Event()

    async def endless(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            if b"/models" in head.partition(b"\r\n")[0]:
                await peer.answer(b'{"data":[{"id":"llama2"}]}')
                continue
            await peer.send(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            )
            await peer.chunk(b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n')
            await peer.gone()
            gone.set()
            return

    async with ScriptedUpstream(endless) as server:
        await add(running.http, admin, server.url)
        body = b'{"messages":[{"role":"user","content":"Hi"}],"model":"llama2"}'
        async with connect(running.url) as client:
            await client.send(
                b"POST %b/stream HTTP/1.1\r\nhost: x\r\nauthorization: %b\r\ncontent-length: %d\r\n\r\n%b"
                % (CHAT.encode(), admin["Authorization"].encode(), len(body), body)
            )
            await client.until(b"data: one\n\n")
            client.close()
            async with asyncio.timeout(5):
                await gone.wait()


text = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("\r\n[DONE]"), max_size=30)


@given(st.lists(text))
def test_an_event_source_reads_the_text_that_the_model_wrote(texts: list[str]) -> None:
    """Whatever is in it; line ends become line feeds, as server-sent events have no others."""
    stream = b"".join(map(events_of, texts))
    read = [data_of(event) for event in EventSplitter().feed(stream)]
    wanted = "".join(text.replace("\r\n", "\n").replace("\r", "\n") for text in texts)
    assert b"".join(data for data in read if data is not None).decode() == wanted


@given(st.lists(text))
def test_no_text_ends_the_guides_client(texts: list[str]) -> None:
    """Which reads line by line, skips empty ones and stops at `data: [DONE]`; it gets all but line ends."""
    printed = ""
    for line in b"".join(map(events_of, texts)).splitlines():
        if line:
            data = line.decode()
            assert data.startswith("data: ")
            assert data[6:] != "[DONE]"
            printed += data[6:]
    assert printed == "".join(texts).replace("\r", "").replace("\n", "")


@given(st.binary())
def test_bytes_that_are_no_chunks_never_end_a_stream_well(junk: bytes) -> None:
    """They are cut, or say nothing."""
    texts = Texts()
    with contextlib.suppress(AnswerCut):
        texts.feed(b"data: x" + junk.replace(b"\r", b"").replace(b"\n", b"") + b"\n\n")
    assert not texts.done


# --- limits and the ledger


@pytest.mark.parametrize("path", ["", "/stream"])
async def test_a_chat_is_in_the_ledger_exactly(
    running: Running, user: dict[str, str], deployment: int, path: str
) -> None:
    """One record, with the tokens that the model reported and the deployment's name."""
    await running.http.post(CHAT + path, headers=user, json=HELLO)
    [record] = await running.gate.services.reports.records(Filter())
    assert (record.input_tokens, record.output_tokens, record.certainty) == (7, 3, "exact")
    assert (record.upstream, record.endpoint, record.model) == (f"deployment:{deployment}", "chat", "llama2")
    assert (record.surface, record.user_id, record.outcome) == ("deployments", 2, Outcome.FINISHED)


async def test_a_spent_quota_is_402_and_says_not_to_retry(
    running: Running, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """Not 429: the guide's client would wait and try again."""
    await running.gate.services.quotas.set(Subject("user", 2), Allotment(Unit.TOKENS, 0), may_raise=True)
    for path in ("", "/stream"):
        answer = await running.http.post(CHAT + path, headers=user, json=HELLO)
        assert (answer.status_code, list(answer.json())) == (402, ["detail"])
        assert answer.headers["x-should-retry"] == "false"
    assert ollama.asked == []


async def test_a_quota_lowers_what_may_be_answered(
    running: Running, user: dict[str, str], deployment: int, ollama: Ollama
) -> None:
    """To what is left."""
    await running.gate.services.quotas.set(Subject("user", 2), Allotment(Unit.TOKENS, 200), may_raise=True)
    await running.http.post(CHAT, headers=user, json={**HELLO, "max_tokens": 1000})
    assert 0 < ollama.asked[0]["max_tokens"] < 200


async def test_too_many_requests_are_429(open_bku: OpenBku, ollama: Ollama) -> None:
    """With Retry-After, and the headers of the limit before that."""
    async with open_bku(limit=8) as running:
        admin = await log_in(running.http, ADA)
        await add(running.http, admin, ollama.url)
        first = await running.http.post(CHAT, headers=admin, json=HELLO)
        left = int(first.headers["x-ratelimit-remaining"])
        answers = await asyncio.gather(
            *(running.http.get(f"{API}/auth/me", headers=admin) for _ in range(left))
        )
        assert {answer.status_code for answer in answers} == {200}
        for path in ("", "/stream"):
            answer = await running.http.post(CHAT + path, headers=admin, json=HELLO)
            assert (answer.status_code, list(answer.json())) == (429, ["detail"])
            assert "retry-after" in answer.headers
