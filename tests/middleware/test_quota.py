"""What a request may use is held before it goes on, and only what is needed is written into it."""

import asyncio
import gzip
import json
from pathlib import Path

import pytest
from gates import Running, error_of, running
from servers import PATIENCE, Peer, connect

from llmgate.backends import context_length

MODEL_TAKES = 16_384
USAGE = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
CHAT = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 60_000}}


class Picky:
    """A hosted backend: says nothing of its context, and takes no limit over what its model has."""

    def __init__(self, *, lists: bool = True) -> None:
        self.bodies: list[dict[str, object]] = []
        self.lists = lists

    async def __call__(self, peer: Peer) -> None:
        while True:
            head, body = await peer.request()
            kind = b"content-type: application/json\r\n"
            if b"/models" in head.split(b"\r\n", 1)[0]:
                if not self.lists:
                    await asyncio.Event().wait()
                await peer.answer(b'{"data":[{"id":"small"},{"id":"large"}]}', headers=kind)
                continue
            asked = json.loads(body)
            self.bodies.append(asked)
            most = asked.get("max_completion_tokens") or asked.get("max_tokens") or 0
            if most > MODEL_TAKES:
                await peer.answer(
                    b'{"error":{"message":"too large"}}', status=b"400 Bad Request", headers=kind
                )
            else:
                await peer.answer(json.dumps({"choices": [], "usage": USAGE}).encode(), headers=kind)


def gate(tmp_path: Path, store: Path, backend: Picky, tokens: int | None, **settings: object):
    quotas = [] if tokens is None else [{"per": "user", "tokens": tokens}]
    settings = {"dialect": "openai", "context_length": None, **settings}
    return running(tmp_path, store, backend, settings=settings, quotas=quotas, limits=[])


@pytest.fixture
def store(sqlite_url: str) -> Path:
    return Path(sqlite_url.removeprefix("sqlite:///"))


async def ask(served: Running, body: object = CHAT, **more: str) -> tuple[int, bytes]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with connect(served.url) as client:
        await client.send(served.request(data, **more))
        head, answer = await client.response()
    return int(head.split(b" ")[1]), answer


async def test_what_is_good_without_a_quota_is_good_with_one_that_has_room(
    tmp_path: Path, store: Path
) -> None:
    """The limit that the quota needs is more than the model takes: it is left out."""
    backend = Picky()
    async with gate(tmp_path, store, backend, 1_000_000) as served:
        assert (await ask(served))[0] == 200
        limits = [body.get("max_completion_tokens", 0) for body in backend.bodies]
        assert limits[0] > MODEL_TAKES
        assert backend.bodies[1:] == [CHAT]
        await served.quiet()
        assert await served.records() == [("finished", 11, 7, "exact")]


async def test_a_quota_that_has_little_room_bounds_the_answer(tmp_path: Path, store: Path) -> None:
    """Whatever the model takes: what is left is a limit."""
    backend = Picky()
    async with gate(tmp_path, store, backend, 1_000) as served:
        assert (await ask(served))[0] == 200
        assert 0 < backend.bodies[0]["max_completion_tokens"] < 1_000


async def test_a_limit_of_the_clients_own_is_never_taken_out(tmp_path: Path, store: Path) -> None:
    """It is refused by the model, and the client is told so."""
    backend = Picky()
    async with gate(tmp_path, store, backend, 1_000_000) as served:
        status, answer = await ask(served, {**CHAT, "max_completion_tokens": 20_000})
    assert (status, error_of(answer)["message"]) == (400, "too large")
    assert len(backend.bodies) == 1


async def test_the_bytes_of_an_image_are_no_bound_of_its_tokens(tmp_path: Path, store: Path) -> None:
    """Their number is not known: the request has room where anything is left (case image-against-a-quota)."""
    backend = Picky()
    body = {**CHAT, "max_tokens": 50, "messages": [{"role": "user", "content": [IMAGE]}]}
    async with gate(tmp_path, store, backend, 5_000) as served:
        assert (await ask(served, body))[0] == 200
        assert backend.bodies == [body]
        await served.quiet()
        assert await served.records() == [("finished", 11, 7, "exact")]


@pytest.mark.parametrize("key", ["Max_Tokens", "max_token\u017f", "Stream", "MODEL"])
async def test_a_field_that_some_backend_takes_for_another_is_refused(
    tmp_path: Path, store: Path, key: str
) -> None:
    """Go's readers ignore case; the last one counts there."""
    backend = Picky()
    async with gate(tmp_path, store, backend, 1_000) as served:
        status, answer = await ask(served, {**CHAT, "max_tokens": 1, key: 4000})
    assert (status, error_of(answer)["param"], backend.bodies) == (400, key, [])


@pytest.mark.parametrize("unlimited", [0, -1])
async def test_no_limit_in_disguise_comes_down_to_what_is_left(
    tmp_path: Path, store: Path, unlimited: int
) -> None:
    """0 and -1 are as good as none to some backends; of one that nobody knows the worst is taken."""
    backend = Picky()
    async with gate(tmp_path, store, backend, 1_000, dialect="generic") as served:
        assert (await ask(served, {**CHAT, "max_tokens": unlimited}))[0] == 200
        assert 0 < backend.bodies[0]["max_tokens"] < 1_000


async def test_without_a_quota_nobody_waits_for_the_list_of_models(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It hangs, and nobody needs it (case model-list-that-hangs)."""
    monkeypatch.setattr(context_length, "TIMEOUT", 10 * PATIENCE)
    backend = Picky(lists=False)
    async with gate(tmp_path, store, backend, None) as served:
        assert (await ask(served))[0] == 200
    assert backend.bodies == [CHAT]


async def test_a_compressed_body_is_held_and_sent_as_what_it_says(tmp_path: Path, store: Path) -> None:
    """What was read is what the backend gets; a coding that is not known is 415."""
    backend = Picky()
    async with gate(tmp_path, store, backend, 1_000) as served:
        body = gzip.compress(json.dumps({**CHAT, "max_tokens": 5}).encode())
        assert (await ask(served, body, headers="content-encoding: gzip\r\n"))[0] == 200
        assert backend.bodies == [{**CHAT, "max_tokens": 5}]
        assert (await ask(served, body, headers="content-encoding: br\r\n"))[0] == 415


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": ["word " * 200] * 20}),
        ("/v1/embeddings", {"input": [[1] * 500] * 20}),
        ("/v1/rerank", {"query": "word " * 200, "documents": ["a"] * 20}),
        ("/v1/score", {"text_1": "word " * 200, "text_2": ["a"] * 20}),
    ],
)
async def test_each_text_of_a_list_has_a_context_of_its_own(
    tmp_path: Path, store: Path, path: str, body: dict[str, object]
) -> None:
    """Twenty times 512 tokens are no 512, and a query is read with each document."""
    backend = Picky()
    async with gate(tmp_path, store, backend, 5_000, context_length=512) as served:
        assert (await ask(served, {"model": "small", **body}, path=path))[0] == 429
        assert backend.bodies == []
        few = {name: value[:2] if isinstance(value, list) else value for name, value in body.items()}
        assert (await ask(served, {"model": "small", **few}, path=path))[0] == 200
