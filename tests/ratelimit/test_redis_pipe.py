"""The connection to Redis that all requests of a process share: answers find their askers, and errors have words."""

import asyncio

import pytest
from redis_server import LONG, REDIS

from llmgate.errors import StoreError

pytest.importorskip("hiredis", reason="hiredis is not installed (the extra `cluster`)")

from llmgate.ratelimit.redis_pipe import RedisPipe, Script


async def test_a_question_that_nobody_waits_for_any_more_mixes_no_answers_up(
    redis_pipe: RedisPipe, prefix: str
) -> None:
    await redis_pipe.run("SET", f"{prefix}:a", "1", "EX", 60)
    given_up = asyncio.create_task(redis_pipe.run("GET", f"{prefix}:a"))
    await asyncio.sleep(0)
    given_up.cancel()
    assert await redis_pipe.run("ECHO", "mine") == b"mine"


async def test_what_redis_refuses_is_an_error_with_its_words(redis_pipe: RedisPipe) -> None:
    with pytest.raises(StoreError, match="unknown command"):
        await redis_pipe.run("LLMGATE")
    assert await redis_pipe.run("PING") == b"PONG"


async def test_a_script_that_redis_has_forgotten_is_sent_again(redis_pipe: RedisPipe, prefix: str) -> None:
    script = Script(f"return '{prefix}'")
    assert await redis_pipe.eval(script, "k") == prefix.encode()
    assert await redis_pipe.eval(script, "k") == prefix.encode()


async def test_a_password_is_sent_and_a_wrong_one_refused() -> None:
    pipe = RedisPipe(REDIS.replace("redis://", "redis://:geheim@"), timeout=LONG)
    with pytest.raises(StoreError, match=r"AUTH|WRONGPASS"):
        await pipe.run("PING")
    await pipe.aclose()


async def test_what_is_no_redis_is_dropped() -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    pipe = RedisPipe(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=LONG)
    with pytest.raises(StoreError):
        await pipe.run("PING")
    await pipe.aclose()
    server.close()
    await server.wait_closed()
