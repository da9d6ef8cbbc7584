"""Requests that no honest client sends: a clear answer, nothing let in, and the gate serves the next one."""

import asyncio
import socket

import httpx
import pytest
from gates import ANSWER, LIMITS, Running, error_of
from servers import PATIENCE, Peer, connect

from llmgate.server.limits import ConnectionLimits

from .conftest import OpenGate


def status_of(head: bytes) -> int:
    return int(head.split(b" ", 2)[1])


async def asked(gate: Running, wire: bytes) -> tuple[int, bytes]:
    """The status and body of the one answer to `wire`; the gate must close within its patience."""
    async with connect(gate.url) as client:
        await client.send(wire)
        head, body = await client.response()
        return status_of(head), body


async def all_of(gate: Running, wire: bytes) -> bytes:
    """Everything that the gate says to `wire` until it closes."""
    async with connect(gate.url) as client:
        await client.send(wire)
        client.half_close()
        return await client.rest()


# Size.


async def test_ten_megabytes_of_headers_are_431_and_never_kept(open_gate: OpenGate) -> None:
    async with open_gate() as gate, connect(gate.url) as client:
        await client.send(b"GET /v1/models HTTP/1.1\r\nhost: gate\r\n")
        line = b"x-filler: " + b"a" * 8000 + b"\r\n"
        writing = asyncio.create_task(client.send(line * 1250))
        head, body = await client.response()
        assert (status_of(head), error_of(body)["code"]) == (431, "headers_too_large")
        await asyncio.gather(writing, return_exceptions=True)
        assert gate.upstream.connections == 0


async def test_one_header_of_ten_megabytes_is_431(open_gate: OpenGate) -> None:
    async with open_gate() as gate, connect(gate.url) as client:
        writing = asyncio.create_task(client.send(b"GET / HTTP/1.1\r\nx: " + b"a" * 10_000_000))
        assert status_of((await client.response())[0]) == 431
        await asyncio.gather(writing, return_exceptions=True)


async def test_a_url_without_end_is_431(open_gate: OpenGate) -> None:
    async with open_gate() as gate:
        assert (await asked(gate, b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n"))[0] == 431


async def test_a_head_within_the_limit_passes_and_its_body_does_not_count(open_gate: OpenGate) -> None:
    async with open_gate() as gate:
        body = b'{"model":"small","messages":[{"role":"user","content":"%s"}]}' % (b"x" * 90_000)
        assert await asked(gate, gate.request(body, headers=f"x-filler: {'a' * 40_000}\r\n")) == (200, ANSWER)


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_413_with_or_without_a_length(
    open_gate: OpenGate, chunked: bool
) -> None:
    async with open_gate() as gate, connect(gate.url) as client:
        if chunked:
            head = gate.request(b"").replace(b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n")
            await client.send(head + b"ffff\r\n" + b"a" * 65535 + b"\r\nffff\r\n" + b"a" * 65535 + b"\r\n")
        else:
            await client.send(gate.request(b"a" * 100_001))
        head, body = await client.response()
        assert (status_of(head), error_of(body)["code"]) == (413, "request_too_large")
        assert gate.upstream.connections == 0


async def test_after_a_413_the_rest_of_the_body_is_read_and_the_connection_goes_on(
    open_gate: OpenGate,
) -> None:
    async with open_gate() as gate, connect(gate.url) as client:
        await client.send(gate.request(b"a" * 300_000))
        assert status_of((await client.response())[0]) == 413
        await client.send(gate.request())
        assert (await client.response())[1] == ANSWER


async def test_a_chunked_body_within_the_limit_is_served(open_gate: OpenGate) -> None:
    async with open_gate() as gate, connect(gate.url) as client:
        head = gate.request(b"").replace(b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n")
        await client.send(head)
        for byte in b'{"model":"small"}':
            await client.send(b"1\r\n%c\r\n" % byte)
        await client.send(b"0\r\n\r\n")
        assert (await client.response())[1] == ANSWER


# Smuggling: whatever the framing, one request is one request, and a doubtful one is none.

SMUGGLED = b"GET /v1/models HTTP/1.1\r\nhost: gate\r\n\r\n"


@pytest.mark.parametrize(
    "framing",
    [
        b"content-length: 5\r\ntransfer-encoding: chunked\r\n",
        b"transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        b"transfer-encoding: chunked, identity\r\n",
        b"transfer-encoding: xchunked\r\ncontent-length: 4\r\n",
        b"transfer-encoding: identity, chunked\r\ncontent-length: 4\r\n",
        b"transfer-encoding : chunked\r\n",
        b"transfer-encoding:\x0bchunked\r\ncontent-length: 4\r\n",
        b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: 5, 6\r\n",
        b"content-length: +5\r\n",
        b"content-length: -5\r\n",
        b"content-length: 5 6\r\n",
        b"content-length: 0x5\r\n",
        b"content-length: 99999999999999999999\r\n",
        b"content-length: 5\nx: y\r\n",
        b"content-length:\r\n",
        b"x: y\r\n content-length: 5\r\n",
        b"x: y\rcontent-length: 5\r\n",
        b"content-length: 5\x00\r\n",
        b"content-\xa0length: 5\r\n",
    ],
)
async def test_doubtful_framing_is_400_and_closes(open_gate: OpenGate, framing: bytes) -> None:
    async with open_gate() as gate:
        head = gate.request(b"").replace(b"content-length: 0\r\n", framing)
        said = await all_of(gate, head + b"0\r\n\r\n" + SMUGGLED)
        assert status_of(said) == 400
        assert b"connection: close\r\n" in said
        assert said.count(b"HTTP/1.1 ") == 1
        assert gate.upstream.connections == 0


@pytest.mark.parametrize("size", [b"-1", b"0x1", b"1 ", b"g", b"", b"1;a\nb", b"fffffffffffffffff"])
async def test_a_chunk_whose_size_is_none_is_400_or_waits_and_never_reaches_the_upstream(
    open_gate: OpenGate, size: bytes
) -> None:
    async with open_gate() as gate:
        head = gate.request(b"").replace(b"content-length: 0\r\n", b"transfer-encoding: chunked\r\n")
        said = await all_of(gate, head + size + b"\r\n{}\r\n0\r\n\r\n" + SMUGGLED)
        assert said[:12] in (b"HTTP/1.1 400", b"")
        assert gate.upstream.connections == 0


@pytest.mark.parametrize(
    "head",
    [
        b"GET /v1/models HTTP/1.1\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nhost: a\r\n",
        b"GET /v1/models HTTP/1.1\r\nhost: a\r\nHost: b\r\n",
        b"GET /v1/\xff HTTP/1.1\r\nhost: a\r\n",
        b"G\x00T / HTTP/1.1\r\nhost: a\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nx\x01y: z\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\n: nameless\r\n",
        b"CONNECT vllm:80 HTTP/1.1\r\nhost: a\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
async def test_what_is_not_http_is_400_and_closes(open_gate: OpenGate, head: bytes) -> None:
    async with open_gate() as gate:
        said = await all_of(gate, head + b"\r\n")
        assert (status_of(said), said.count(b"HTTP/1.1 ")) == (400, 1)


async def test_the_host_has_no_say_in_the_route(open_gate: OpenGate) -> None:
    """A target in absolute form is read as RFC 9112 3.2.2 wants it; the path alone decides."""
    async with open_gate() as gate:
        wire = gate.request().replace(b"POST /v1", b"POST http://169.254.169.254/v1")
        assert await asked(gate, wire) == (200, ANSWER)
        wire = (
            gate.request()
            .replace(b"POST /v1", b"POST http://evil/admin")
            .replace(b"host: gate", b"host: /v1")
        )
        assert (await asked(gate, wire))[0] == 404


async def test_pipelined_requests_are_answered_in_order(open_gate: OpenGate) -> None:
    async with open_gate() as gate, connect(gate.url) as client:
        await client.send(gate.request() + b"GET /nothing HTTP/1.1\r\nhost: a\r\n\r\n" + gate.request())
        seen = [status_of((await client.response())[0]) for _ in range(3)]
        assert seen == [200, 404, 200]


async def test_junk_behind_a_request_never_gets_into_its_answer(open_gate: OpenGate) -> None:
    asked_for, go_on = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked_for.set()
        await go_on.wait()
        await peer.answer(ANSWER)

    async with open_gate(script) as gate, connect(gate.url) as client:
        await client.send(gate.request())
        await asked_for.wait()
        await client.send(b"\x00\x01\x02 junk\r\n\r\n")
        assert await client.rest() == b""
        go_on.set()


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
async def test_an_offer_to_upgrade_is_ignored_and_the_body_is_read(open_gate: OpenGate, offer: str) -> None:
    """Java's HttpClient offers h2c with every first request."""
    async with open_gate() as gate:
        upgrade = f"connection: Upgrade, HTTP2-Settings\r\nupgrade: {offer}\r\nhttp2-settings: AAMA\r\n"
        assert await asked(gate, gate.request(headers=upgrade)) == (200, ANSWER)


# Patience.


@pytest.mark.parametrize(
    ("wire", "status"), [(b"POST /v1/chat/completions HTTP/1.1\r\nhost", 408), (b"", 0), (b"\r\n", 408)]
)
async def test_a_head_that_does_not_come_is_408_and_an_idle_connection_just_closes(
    open_gate: OpenGate, wire: bytes, status: int
) -> None:
    async with (
        open_gate(connections=ConnectionLimits(header_timeout=0.05)) as gate,
        connect(gate.url) as client,
    ):
        await client.send(wire)
        said = await client.rest()
        assert (status_of(said) if said else 0) == status


async def test_a_head_that_drips_has_no_longer_than_one_that_stops(open_gate: OpenGate) -> None:
    async with (
        open_gate(connections=ConnectionLimits(header_timeout=0.1)) as gate,
        connect(gate.url) as client,
    ):

        async def drip() -> None:
            while True:
                await client.send(b"x: y\r\n")
                await asyncio.sleep(0.01)

        await client.send(b"GET / HTTP/1.1\r\nhost: a\r\n")
        dripping = asyncio.create_task(drip())
        assert status_of(await client.until(b"\r\n\r\n")) == 408
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_body_that_stops_coming_is_408_and_frees_its_place(open_gate: OpenGate) -> None:
    async with (
        open_gate(connections=ConnectionLimits(header_timeout=0.05)) as gate,
        connect(gate.url) as client,
    ):
        await client.send(gate.request(b"{" * 10)[:-4])
        head, body = await client.response()
        assert (status_of(head), error_of(body)["code"]) == (408, "request_timeout")


async def test_an_upstream_that_thinks_for_long_is_not_the_clients_fault(open_gate: OpenGate) -> None:
    go_on = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await go_on.wait()
        await peer.answer(ANSWER)

    async with (
        open_gate(script, connections=ConnectionLimits(header_timeout=0.02)) as gate,
        connect(gate.url) as client,
    ):
        await client.send(gate.request())
        asyncio.get_running_loop().call_later(0.1, go_on.set)
        assert (await client.response())[1] == ANSWER


async def test_connections_over_the_limit_are_503_and_the_others_go_on(open_gate: OpenGate) -> None:
    limits = ConnectionLimits(header_timeout=PATIENCE, max_connections=1)
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        asked.set()
        await go_on.wait()
        await peer.answer(ANSWER)

    async with open_gate(script, connections=limits) as gate, connect(gate.url) as first:
        await first.send(gate.request())
        await asked.wait()
        async with connect(gate.url) as second:
            head, body = await second.response()
            assert (status_of(head), error_of(body)["code"]) == (503, "unavailable")
        go_on.set()
        assert (await first.response())[1] == ANSWER


async def test_an_idle_connection_gives_way_to_a_new_one_where_it_is_full(open_gate: OpenGate) -> None:
    limits = ConnectionLimits(header_timeout=PATIENCE, max_connections=1)
    async with open_gate(connections=limits) as gate, connect(gate.url) as first:
        await first.send(gate.request())
        assert (await first.response())[1] == ANSWER
        async with connect(gate.url) as second:
            await second.send(gate.request())
            assert (await second.response())[1] == ANSWER
        assert await first.rest() == b""


async def test_a_body_that_drips_is_408_and_frees_its_place(open_gate: OpenGate) -> None:
    """Each byte comes before the time between two pieces is over, and they never end."""
    limits = ConnectionLimits(header_timeout=0.2, min_rate=1000)
    async with open_gate(connections=limits) as gate, connect(gate.url) as client:

        async def drip() -> None:
            while True:
                await client.send(b" ")
                await asyncio.sleep(0.01)

        await client.send(gate.request(b" " * 90_000)[:-80_000])
        dripping = asyncio.create_task(drip())
        assert status_of(await client.until(b"\r\n\r\n")) == 408
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_stream_that_its_client_does_not_read_ends_and_frees_slot_hold_and_upstream(
    open_gate: OpenGate,
) -> None:
    left = asyncio.Event()

    async def floods(peer: Peer) -> None:
        await peer.request()
        await peer.send(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        event = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"x" * 10_000)
        try:
            while True:
                await peer.chunk(event)
        except ConnectionError:
            left.set()

    limits = ConnectionLimits(header_timeout=PATIENCE, send_timeout=0.2)
    async with open_gate(floods, connections=limits) as gate:
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            host, _, port = gate.url.removeprefix("http://").partition(":")
            await loop.sock_connect(client, (host, int(port)))
            body = b'{"model":"small","messages":[],"stream":true}'
            await loop.sock_sendall(client, gate.request(body))
            await asyncio.wait_for(left.wait(), PATIENCE)
            await gate.quiet()
        [(outcome, *_)] = await gate.records()
        assert outcome == "aborted"


@pytest.mark.parametrize(
    "line",
    ["GET / HTTP/0.9", "GET / HTTP/2.0", "GET / HTTP/3.7", "OPTIONS * RTSP/1.0", "GET /", "PRI * HTTP/2.0"],
)
async def test_what_is_another_version_or_protocol_is_505(open_gate: OpenGate, line: str) -> None:
    async with open_gate() as gate:
        for wire in (f"{line}\r\nhost: a\r\n\r\n", f"\r\n{line}\r\n\r\nSM\r\n\r\n"):
            status, body = await asked(gate, wire.encode())
            assert (status, error_of(body)["code"]) == (505, "http_version_not_supported")


# Names and contents.


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/v1/../admin", {400, 404}),
        ("/v1/%2e%2e/metrics", {400, 404}),
        ("/v1/models/..%2f..%2fmetrics", {405}),
        ("/v1/models/a%00b", {405}),
        ("/v1/models/%c0%ae%c0%ae", {405}),
        ("/v1//chat/completions", {404}),
        ("/v1/chat%2fcompletions", {400}),
        ("/V1/chat/completions", {404}),
        ("/v1/chat/completions;x", {404}),
        ("/v1/tokenize", {404}),
        ("/metrics/../v1/models", {400, 404}),
    ],
)
async def test_no_spelling_of_a_path_opens_what_is_closed(
    open_gate: OpenGate, path: str, statuses: set[int]
) -> None:
    async with open_gate() as gate:
        status, _ = await asked(gate, gate.request(path=path))
        assert status in statuses
        assert gate.upstream.connections == 0


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"", "not JSON"),
        (b"[]", "expected a JSON object"),
        (b'{"model":"small","max_tokens":NaN}', "not JSON"),
        (b'{"model":"small","max_tokens":Infinity}', "not JSON"),
        (b'{"model":"small","max_tokens":-2}', "body.max_tokens"),
        (b'{"model":"small","max_tokens":1e99}', "body.max_tokens"),
        (b'{"model":"small","max_tokens":9223372036854775808}', "body.max_tokens"),
        (b'{"model":"small","max_tokens":1,"max_tokens":100}', "body.max_tokens"),
        (b'{"model":"small","n":-1}', "body.n"),
        (b'{"model":["small"]}', "body.model"),
        (b'{"model":"sm\xffall"}', "not UTF-8"),
        (b'{"model":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"model":"small","stream":"yes"}', "body.stream"),
        (b'{"model":"small","stream_options":{"include_usage":1}}', "body.stream_options.include_usage"),
        (b'{"a":' * 20_000, "nested"),
        (b'{"model":"small"}{"model":"large"}', "not JSON"),
    ],
)
async def test_a_body_that_can_be_read_in_two_ways_is_400_and_says_where(
    open_gate: OpenGate, body: bytes, place: str
) -> None:
    async with open_gate() as gate:
        status, said = await asked(gate, gate.request(body))
        assert status == 400
        assert place in error_of(said)["message"]
        assert gate.upstream.connections == 0
        assert await gate.records() == []


@pytest.mark.parametrize(
    "credential",
    ["' OR '1'='1", '"; DROP TABLE users; --', "%00", "é", "\x7f", "a" * 60_000, "{}", "Bearer x"],
)
async def test_a_credential_made_of_anything_is_401(open_gate: OpenGate, credential: str) -> None:
    async with open_gate() as gate:
        wire = gate.request().replace(gate.key.encode(), credential.encode())
        status, _ = await asked(gate, wire)
        assert status in (400, 401) if "\x7f" in credential else status == 401
        assert gate.upstream.connections == 0


async def test_a_revoked_key_is_401_at_once(open_gate: OpenGate) -> None:
    async with open_gate() as gate, connect(gate.url) as client:
        await client.send(gate.request())
        assert (await client.response())[1] == ANSWER
        key = (await gate.gate.services.identity.keys.of_user(1))[0]
        await gate.gate.services.identity.keys.revoke(key.id)
        await client.send(gate.request())
        assert status_of((await client.response())[0]) == 401
        _, gate.key = await gate.gate.services.identity.keys.create(1, "next")


async def test_the_same_request_id_twice_is_charged_twice(open_gate: OpenGate) -> None:
    """Or a client could use one id for all its requests and pay for one."""
    async with open_gate() as gate:
        wire = gate.request(headers="x-request-id: 1\r\n")
        assert [status for status, _ in await asyncio.gather(*(asked(gate, wire) for _ in range(10)))] == [
            200
        ] * 10
        assert await gate.records() == [("finished", 5, 7, "exact")] * 10


async def test_a_storm_of_requests_takes_an_account_no_further_than_its_limit(open_gate: OpenGate) -> None:
    quotas = [{"per": "user", "tokens": 100}]
    async with open_gate(quotas=quotas, connections=LIMITS) as gate:
        body = b'{"model":"small","messages":[],"max_tokens":7}'
        seen = [
            status
            for status, _ in await asyncio.gather(*(asked(gate, gate.request(body)) for _ in range(40)))
        ]
        assert set(seen) == {200, 429}
        spent = sum(record[1] + record[2] for record in await gate.records() if record[0] == "finished")
        assert 12 <= spent <= 100


async def test_a_spent_quota_does_not_look_like_a_rate_limit(open_gate: OpenGate) -> None:
    """openai-python sleeps for minutes on a Retry-After, and retries every other 429."""
    async with (
        open_gate(quotas=[{"per": "user", "tokens": 1}], connections=LIMITS) as gate,
        connect(gate.url) as client,
    ):
        await client.send(gate.request())
        head, body = await client.response()
        assert status_of(head) == 429
        assert b"\r\nx-should-retry: false\r\n" in head
        assert b"retry-after" not in head
        assert error_of(body)["code"] == "insufficient_quota"


async def test_what_the_operator_asks_works_through_all_of_it(open_gate: OpenGate) -> None:
    async with open_gate() as gate, httpx.AsyncClient(base_url=gate.url, trust_env=False) as http:
        assert (await http.get("/healthz")).json() == {"status": "ok"}
        assert (await http.get("/readyz")).json()["status"] == "ok"
        assert "llmgate_requests_total" in (await http.get("/metrics")).text
        assert (await http.post("/metrics")).headers["allow"] == "GET, HEAD"


# A good key beside a foreign one.

FOREIGN = "sk-ant-api03-not-ours"


@pytest.mark.parametrize("second", [f"x-api-key: {FOREIGN}\r\n", f"api-key: {FOREIGN}\r\n"])
async def test_a_key_of_another_service_beside_a_good_one_is_nobodys(
    open_gate: OpenGate, second: str
) -> None:
    """Claude Code sends the key that it was given for Anthropic besides: neither 401, nor passed on."""
    heads: list[bytes] = []

    async def backend(peer: Peer) -> None:
        while True:
            head, _ = await peer.request()
            heads.append(head)
            await peer.answer(ANSWER, headers=b"content-type: application/json\r\n")

    async with open_gate(backend) as gate, connect(gate.url) as client:
        await client.send(gate.request(headers=second))
        assert status_of((await client.response())[0]) == 200
    assert len(heads) == 1 and FOREIGN.encode() not in heads[0]


async def test_keys_of_two_users_are_nobodys(open_gate: OpenGate) -> None:
    async with open_gate() as gate:
        identity = gate.gate.services.identity
        bob = await identity.users.register("bob", None)
        _, other = await identity.keys.create(bob.id, "k")
        async with connect(gate.url) as client:
            await client.send(gate.request(headers=f"x-api-key: {other}\r\n"))
            assert status_of((await client.response())[0]) == 401


async def test_a_foreign_key_alone_opens_nothing(open_gate: OpenGate) -> None:
    async with open_gate() as gate:
        wire = gate.request(headers=f"x-api-key: {FOREIGN}\r\n").replace(gate.key.encode(), b"sk-proj-other")
        assert (await asked(gate, wire.replace(b"host:", b"connection: close\r\nhost:")))[0] == 401
        assert gate.upstream.connections == 0
