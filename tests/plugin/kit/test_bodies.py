"""A request whose body is another one."""

from playbook import scope_of
from starlette.types import Message

from llmgate.plugin.api import read_body
from llmgate.plugin.kit.bodies import with_body


async def test_an_app_gets_the_new_body_its_length_and_then_the_clients_word() -> None:
    async def receive() -> Message:
        return {"type": "http.disconnect"}

    scope, replayed = with_body(
        scope_of("POST", headers={"content-length": "9", "x-kept": "1"}), receive, b"ABC"
    )
    assert scope["headers"] == [(b"host", b"gate"), (b"x-kept", b"1"), (b"content-length", b"3")]
    assert await read_body(replayed, 100) == b"ABC"
    assert await replayed() == {"type": "http.disconnect"}


async def test_what_was_said_of_the_old_body_is_gone_and_the_scope_that_came_is_as_it_was() -> None:
    """A body that was compressed, or of no announced length."""
    old = scope_of("POST", headers={"Transfer-Encoding": "chunked", "content-encoding": "gzip"})

    async def receive() -> Message:
        raise AssertionError("nobody asks")

    scope, _ = with_body(old, receive, b"four")
    assert scope["headers"] == [(b"host", b"gate"), (b"content-length", b"4")]
    assert (b"content-encoding", b"gzip") in old["headers"]
