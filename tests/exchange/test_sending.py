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


class Observed:
    """An observer, and what it saw."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    def begins(self, status: int) -> None:
        self.seen.append(status)

    def piece(self, body: bytes, *, more: bool) -> None:
        self.seen.append((body, more))


async def test_every_message_is_seen_once_it_has_begun_and_pieces_pass_as_they_are() -> None:
    shared, went = collecting()
    shared.observer = observed = Observed()
    assert not shared.begun
    piece: Message = {"type": "http.response.body", "body": b"x"}
    await shared(START)
    await shared(piece)
    assert shared.begun
    assert observed.seen == [200, (b"x", False)]
    assert went[1] is piece


async def test_a_piece_is_pushed_to_a_send_that_takes_it_at_once_and_awaited_by_all_others() -> None:
    class Taking:
        def __init__(self) -> None:
            self.pushed: list[bytes] = []

        async def __call__(self, message: Message) -> None:
            assert message == START

        def push(self, body: bytes) -> None:
            self.pushed.append(body)

    taking = Taking()
    shared = sending(taking)
    shared.observer = observed = Observed()
    await shared(START)
    assert shared.push(b"x") is None
    assert (taking.pushed, observed.seen) == ([b"x"], [200, (b"x", True)])

    foreign, went = collecting()
    await foreign(START)
    left = foreign.push(b"x")
    assert left is not None
    await left
    assert went[1] == {"type": "http.response.body", "body": b"x", "more_body": True}


async def test_a_whole_answer_passes_in_one_go_and_foreign_sends_get_its_head_and_its_body() -> None:
    shared, went = collecting()
    shared.added += ((b"x", b"1"),)
    shared.observer = observed = Observed()
    left = shared.whole(200, [(b"server", b"u")], b"body")
    assert (shared.begun, observed.seen) == (True, [200, (b"body", False)])
    assert left is not None
    await left
    headers = [(b"server", b"u"), (b"x", b"1")]
    assert went == [
        {**START, "headers": headers},
        {"type": "http.response.body", "body": b"body", "more_body": False},
    ]
