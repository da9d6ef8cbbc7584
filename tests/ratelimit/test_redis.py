"""Windows and slots in Redis: one count for all workers, leases that end, and no long waits."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Self

import pytest
from redis_server import LONG, REDIS
from servers import until
from starlette.types import Message, Receive, Scope, Send

from llmgate.errors import StoreError
from llmgate.middleware import RateLimit
from llmgate.ratelimit.limit import Asked, ConcurrentRequests, Limit, enter_all, window_of
from llmgate.ratelimit.memory import LocalSlots, MemoryStorage
from llmgate.ratelimit.strategies import Slots, Step

pytest.importorskip("hiredis", reason="hiredis is not installed (the extra `cluster`)")

from llmgate.ratelimit.redis import RedisSlots, RedisStorage
from llmgate.ratelimit.redis_pipe import RedisPipe
from llmgate.ratelimit.store import open_limits_store

Windows = Callable[[str], RedisStorage]


@pytest.fixture
async def windows(redis_pipe: RedisPipe) -> AsyncIterator[Windows]:
    """Makes storages, each with a connection of its own, as workers have."""
    async with AsyncExitStack() as stack:

        def made(prefix: str) -> RedisStorage:
            storage = RedisStorage(REDIS, prefix=prefix, timeout=LONG)
            stack.push_async_callback(storage.aclose)
            return storage

        yield made


class Relay:
    """Stands between a pipe and Redis, and can be deaf, or gone."""

    def __init__(self) -> None:
        self.deaf = False
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"redis://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/0"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # transports close in the turn after

    def cut(self) -> None:
        """Close every connection, as a server that restarts does."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = REDIS.removeprefix("redis://").partition("/")[0].partition(":")
        back_reader, back_writer = await asyncio.open_connection(address[0], int(address[2] or 6379))
        self._writers += [writer, back_writer]
        for source, sink in ((reader, back_writer), (back_reader, writer)):
            task = asyncio.create_task(self._copy(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _copy(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            if not self.deaf:
                sink.write(data)
        sink.close()


async def test_two_workers_count_in_one_window(prefix: str, windows: Windows) -> None:
    one, two = (windows(prefix) for _ in range(2))
    counted = [await one.count("k", 60), await two.count("k", 60), await one.count("k", 60, 3)]
    assert [window.used for window in counted] == [1, 2, 5]
    assert (await two.peek("k")).used == 5
    assert await one.peek("another") == (0, 0.0)


async def test_a_window_ends_a_span_after_it_was_opened_by_whoever(prefix: str, windows: Windows) -> None:
    one, two = (windows(prefix) for _ in range(2))
    await one.count("k", 60)
    for window in (await two.count("k", 9999), await one.peek("k")):
        assert 55 < window.left <= 60


async def test_a_moving_window_holds_no_more_than_its_limit(prefix: str, windows: Windows) -> None:
    one, two = (windows(prefix) for _ in range(2))
    entered = [await each.enter("k", 3, 60) for each in (one, two, one, two)]
    assert [(good, window.used) for good, window in entered] == [(True, 1), (True, 2), (True, 3), (False, 3)]
    assert all(55 < window.left <= 60 for _, window in entered)


async def test_a_clock_that_was_set_back_locks_nobody_out_longer_than_a_window(
    prefix: str, windows: Windows, redis_pipe: RedisPipe
) -> None:
    """What such a clock leaves behind: keys that end far in the future, and entries that are not yet."""
    (storage,) = (windows(prefix),)
    await storage.count("fixed", 60)
    await redis_pipe.run("PEXPIRE", f"{prefix}:windows:fixed", 3_600_000)
    assert (await storage.count("fixed", 60)).left <= 60
    key = f"{prefix}:windows:moving"
    await redis_pipe.run("LPUSH", key, f"{time.time() + 3600:.6f}")
    await redis_pipe.run("PEXPIRE", key, 60_000)
    assert await storage.enter("moving", 1, 60) == (True, (1, 60.0))


async def test_several_at_once_go_into_a_moving_window_or_none(prefix: str, windows: Windows) -> None:
    storage = windows(prefix)
    entered = [await storage.enter("k", 5, 60, amount) for amount in (3, 3, 2, 0, 6)]
    assert [(good, window.used) for good, window in entered] == [
        (True, 3),
        (False, 3),
        (True, 5),
        (True, 5),
        (False, 5),
    ]


async def test_slots_are_counted_across_workers(redis_pipe: RedisPipe, prefix: str) -> None:
    one, two = RedisSlots(redis_pipe, prefix=prefix), RedisSlots(redis_pipe, prefix=prefix)
    assert await one.acquire("user", 2)
    assert await two.acquire("user", 2)
    assert not await one.acquire("user", 2)
    assert await one.acquire("somebody else", 2)
    two.release("user")
    assert await one.acquire("user", 2)


async def test_the_slots_of_a_worker_that_died_are_free_when_its_lease_ends(
    redis_pipe: RedisPipe, prefix: str
) -> None:
    """Redis keeps the time, so the lease is short here, and its end is waited for by asking."""
    dead, alive = (
        RedisSlots(redis_pipe, prefix=prefix, lease=0.05),
        RedisSlots(redis_pipe, prefix=prefix, lease=LONG),
    )
    assert await dead.acquire("user", 1)
    async with asyncio.timeout(5):
        while not await alive.acquire("user", 1):
            pass


async def test_a_slot_that_is_renewed_stays_taken(redis_pipe: RedisPipe, prefix: str) -> None:
    holder, other = RedisSlots(redis_pipe, prefix=prefix, lease=LONG), RedisSlots(redis_pipe, prefix=prefix)
    await holder.acquire("user", 1)
    before = await redis_pipe.run("ZSCORE", f"{prefix}:slots:user", f"{holder._worker}:0")
    await holder.renew()
    after = await redis_pipe.run("ZSCORE", f"{prefix}:slots:user", f"{holder._worker}:0")
    assert isinstance(before, bytes)
    assert isinstance(after, bytes)
    assert float(after) > float(before)
    assert not await other.acquire("user", 1)


async def test_many_at_once_never_take_more_slots_than_there_are(redis_pipe: RedisPipe, prefix: str) -> None:
    workers = [RedisSlots(redis_pipe, prefix=prefix) for _ in range(4)]
    taken = await asyncio.gather(*(workers[turn % 4].acquire("user", 7) for turn in range(100)))
    assert sum(taken) == 7


async def test_a_redis_that_is_not_there_is_named(prefix: str) -> None:
    async with open_limits_store("redis://127.0.0.1:1", prefix=prefix) as shared:
        with pytest.raises(StoreError, match=r"redis \(127\.0\.0\.1:1\): cannot be reached"):
            await shared.windows.count("k", 60)


@pytest.mark.usefixtures("redis_pipe")
async def test_a_redis_that_does_not_answer_is_waited_for_until_the_timeout(prefix: str) -> None:
    async with Relay() as relay, open_limits_store(relay.url, timeout=0.05, prefix=prefix) as shared:
        assert (await shared.windows.count("k", 60)).used == 1
        relay.deaf = True
        answers = await asyncio.gather(
            *(shared.windows.count("k", 60) for _ in range(20)), return_exceptions=True
        )
        assert all(isinstance(answer, StoreError) and "no answer within" in str(answer) for answer in answers)
        relay.deaf = False
        assert (await shared.windows.count("k", 60)).used == 2


@pytest.mark.usefixtures("redis_pipe")
async def test_a_lost_connection_is_opened_again_by_the_next_question(prefix: str) -> None:
    async with Relay() as relay, open_limits_store(relay.url, prefix=prefix) as shared:
        assert (await shared.windows.count("k", 60)).used == 1
        line = shared.windows.pipe._line
        assert line is not None
        relay.cut()
        await until(lambda: line.closed)
        assert (await shared.windows.count("k", 60)).used == 2


@pytest.mark.usefixtures("redis_pipe")
async def test_that_it_is_away_is_known_until_it_answers_again(
    prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with Relay() as relay, open_limits_store(relay.url, timeout=0.05, prefix=prefix) as shared:
        assert (await shared.windows.count("k", 60)).used == 1
        assert shared.availability.failing is None
        relay.deaf = True
        for ask in (shared.windows.count("k", 60), shared.slots.acquire("user", 1)):
            with pytest.raises(StoreError):
                await ask
        assert "no answer within" in (shared.availability.failing or "")
        relay.deaf = False
        await shared.windows.peek("k")
        assert shared.availability.failing is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


async def test_that_it_is_away_is_known_before_any_request(prefix: str) -> None:
    async with open_limits_store("redis://127.0.0.1:1", prefix=prefix) as shared:
        await until(lambda: shared.availability.failing is not None)


@pytest.mark.usefixtures("redis_pipe")
async def test_giving_a_slot_back_never_fails(prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """The answer is out by then: there is nobody to tell."""
    async with Relay() as relay, open_limits_store(relay.url, timeout=0.05, prefix=prefix) as shared:
        await shared.slots.acquire("user", 1)
        relay.deaf = True
        shared.slots.release("user")
        await until(lambda: shared.availability.failing is not None)
    assert "a slot stays taken for up to 15 s" in caplog.text


async def test_what_was_given_back_is_written_before_the_connection_is_closed(
    redis_pipe: RedisPipe, prefix: str
) -> None:
    """Though nobody waits, and though there may be no connection at that moment."""
    for lost in (False, True):
        async with open_limits_store(REDIS, timeout=LONG, prefix=prefix) as shared:
            await shared.slots.acquire("user", 1)
            if lost:
                shared.slots._redis._line.drop("lost")
            shared.slots.release("user")
        assert await redis_pipe.run("ZCARD", f"{prefix}:slots:user") == 0


async def test_who_leaves_while_it_asks_for_a_slot_does_not_keep_it(
    windows: Windows, redis_pipe: RedisPipe, prefix: str
) -> None:
    storage = windows(prefix)
    await storage.check()
    asking = [
        asyncio.create_task(storage.slots.acquire("user", 1)),
        asyncio.create_task(storage.admit([Step("acquire", "other", 1, 0)])),
    ]
    await asyncio.sleep(0)
    for each in asking:
        each.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    await storage.check()
    assert [await redis_pipe.run("EXISTS", f"{prefix}:slots:{name}") for name in ("user", "other")] == [0, 0]


async def test_tokens_count_though_nobody_waits_and_redis_has_forgotten_the_script(
    windows: Windows, redis_pipe: RedisPipe, prefix: str
) -> None:
    storage, failures = windows(prefix), list[StoreError]()
    await storage.check()
    await redis_pipe.run("SCRIPT", "FLUSH")
    storage.count_later([Step("count", "a", 1, 60, 5), Step("count", "b", 1, 60, 7)], failures.append)
    await storage.pipe._line.answered()
    await asyncio.gather(*storage.pipe._posting)
    assert [(await storage.peek(key)).used for key in "ab"] == [5, 7]
    assert not failures


@pytest.mark.parametrize(("fail_open", "status"), [(False, 503), (True, 200)])
async def test_without_redis_requests_are_refused_or_go_through_as_the_operator_chose(
    prefix: str, fail_open: bool, status: int
) -> None:
    async with open_limits_store("redis://127.0.0.1:1", prefix=prefix) as shared:
        limits = [Limit("gate", "requests", 5), Limit("gate", "concurrent", 5)]
        app = RateLimit(fine, limits=limits, storage=shared.windows, slots=shared.slots, fail_open=fail_open)
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        await app({"type": "http", "method": "GET", "path": "/", "headers": []}, never, send)
        assert sent[0]["status"] == status


async def fine(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def never() -> Message:
    raise AssertionError("nobody asked")


async def admitted(
    storage: RedisStorage | MemoryStorage, slots: Slots, limits: list[Limit]
) -> list[list[tuple[bool, int]]]:
    """Whether each of five requests passes each limit, and what is left, up to the first that refuses."""
    together = storage if isinstance(storage, RedisStorage) else None
    asked: list[Asked] = [
        (ConcurrentRequests(limit, slots) if limit.what == "concurrent" else window_of(limit, storage), "ann")
        for limit in limits
    ]
    found = []
    for _ in range(5):
        taken: list[str] = []
        stands = await enter_all(asked, together, taken)
        found.append(
            [(stand.good, 0 if stand.limit.what == "concurrent" else stand.remaining) for stand in stands]
        )
        if not stands[-1].good:
            for slot in taken:
                slots.release(slot)
    return found


LIMITS = [
    Limit("user", "requests", 4),
    Limit("user", "tokens", 3),
    Limit("user", "requests", 2, moving=True),
    Limit("gate", "requests", 3),
    Limit("user", "concurrent", 3),
    Limit("user", "concurrent", 2, name="fewer"),
]


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0], [1], [0, 4], [0, 4, 5], [4, 2], [5]])
async def test_several_limits_are_one_look_and_count_as_one_by_one(
    windows: Windows, prefix: str, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    """A request counts on the limits before the one that refuses it, whatever kind they are, and keeps no slot then."""
    storage, limits = windows(prefix), [LIMITS[number] for number in order]
    looks: list[object] = []
    evaluate = storage.pipe.eval

    async def counted(*arguments: object) -> object:
        looks.append(arguments)
        return await evaluate(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(storage.pipe, "eval", counted)
    found = await admitted(storage, storage.slots, limits)
    assert len(looks) == 5
    local = LocalSlots()
    assert found == await admitted(MemoryStorage(), local, limits)
    held = sum(len(each) for each in storage.slots._held.values())
    assert held == local.taken
    slots = [":user:3:ann", "fewer:user:2:ann"]
    taken = [await storage.pipe.run("ZCARD", f"{prefix}:slots:{name}") for name in slots]
    assert taken == [local._taken[name] for name in slots]
    assert any(not good for request in found for good, _ in request) or order == [1]
