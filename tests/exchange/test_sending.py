"""What the layers of a request put on the head of its answer, and see of it."""

from starlette.types import Message

from llmgate.exchange import Sending, sending

START: Message = {"type": "http.response.start", "status": 200, "headers": [(b"server", b"u")]}


async def sent(
    shared: Sending, went: list[Message], headers: list[tuple[bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    await shared({**START, "headers": headers})
    found: list[tuple[bytes, bytes]] = went[-1]["headers"]
    return found


def collecting() -> tuple[Sending, list[Message]]:
    went: list[Message] = []

    async def send(message: Message) -> None:
        went.append(message)

    return sending(send), went


async def test_layers_below_one_that_shares_its_send_share_it_too() -> None:
    shared, _ = collecting()
    assert sending(shared) is shared


async def test_what_the_app_says_under_a_name_of_the_gate_gives_way_and_the_rest_stays() -> None:
    shared, went = collecting()
    shared.put = {b"x-ratelimit-limit": b"2"}
    came = [(b"x-ratelimit-limit", b"9000"), (b"x-ratelimit-limit-tokens", b"7"), (b"server", b"u")]
    assert await sent(shared, went, came) == [*came[1:], (b"x-ratelimit-limit", b"2")]


async def test_a_default_gives_way_to_what_the_app_says_in_whatever_case() -> None:
    shared, went = collecting()
    shared.defaults += ((b"x-request-id", b"1"),)
    assert await sent(shared, went, []) == [(b"x-request-id", b"1")]
    shared, went = collecting()
    shared.defaults += ((b"x-request-id", b"1"),)
    assert await sent(shared, went, [(b"X-Request-ID", b"2")]) == [(b"X-Request-ID", b"2")]


async def test_every_message_is_seen_once_it_has_begun_and_pieces_pass_as_they_are() -> None:
    shared, went = collecting()
    seen: list[Message] = []
    shared.seen = seen.append
    assert not shared.begun
    piece: Message = {"type": "http.response.body", "body": b"x"}
    await shared(START)
    await shared(piece)
    assert shared.begun
    assert seen == went
    assert went[1] is piece
