"""The table of a surface's operations."""

from msgspec import Struct

from llmgate.plugin.api import AnyCall, Call, Detail, Media
from llmgate.plugin.kit.operations import OperationTable


class Thing(Struct, frozen=True):
    name: str


class Busy(Struct, frozen=True):
    until: int


async def make(call: Call[Thing]) -> Thing:
    return call.body


async def get(_: AnyCall) -> Thing:
    return Thing("t")


async def delete(_: AnyCall) -> None:
    return None


AT = OperationTable("/api", problem=Detail, credentials=("bearer",), group="general")


def test_what_an_operation_does_not_say_is_said_by_the_table() -> None:
    """Path, credentials, and whatever else an operation has."""
    made = AT("POST /things", make, "Make a thing.", {201: Thing}, 403, 409, body=Thing)
    assert (made.method, made.path, made.summary) == ("POST", "/api/things", "Make a thing.")
    assert (made.handler, made.body) == (make, Thing)
    assert made.answers == {201: Thing, 403: Detail, 409: Detail}
    assert (made.credentials, made.group) == (("bearer",), "general")


def test_an_operation_says_otherwise() -> None:
    """It comes before the table."""
    open_one = AT("GET /health", get, "Health.", Thing, credentials=(), group="")
    assert (open_one.credentials, open_one.group) == ((), "")


def test_the_first_answer_is_that_of_success() -> None:
    """A type is 200, nothing is 204."""
    assert dict(AT("GET /things", get, "A thing.", Thing).answers) == {200: Thing}
    assert dict(AT("DELETE /things", delete, "Delete.", None, 404).answers) == {204: None, 404: Detail}
    stream = Media(("text/event-stream",))
    assert next(iter(AT("GET /s", get, "S.", stream).answers.values())) is stream


def test_a_table_further_below_has_its_own_defaults_on_top() -> None:
    """The one above stays as it is."""
    below = AT.but("/things", session=True, group="things")
    made = below("DELETE /{id}", delete, "Delete.", None)
    assert (made.path, made.session, made.group, made.credentials) == (
        *("/api/things/{id}", True, "things"),
        ("bearer",),
    )
    assert below("GET", get, "Get.", Thing).path == "/api/things"
    assert not AT("GET", get, "Get.", Thing).session
    beside = below.beside("/oauth2")("GET /keys", get, "Get.", Thing)
    assert (beside.path, beside.session) == ("/oauth2/keys", True)


def test_some_answers_may_come_from_everywhere() -> None:
    """And some refusals follow from what an operation takes, or does."""
    at = OperationTable(problem=Detail, always={503: Busy}, follows={"body": (422,), "POST": (400,)})
    assert dict(at("GET /", get, "Get.", Thing).answers) == {200: Thing, 503: Busy}
    answers = at("POST /", make, "Make.", Thing, body=Thing).answers
    assert dict(answers) == {200: Thing, 422: Detail, 400: Detail, 503: Busy}
    below = at.but("/below", body=Thing)
    assert below("PUT /", make, "Make.", Thing).body is Thing
    assert dict(below("PUT /", make, "Make.", Thing).answers) == {200: Thing, 422: Detail, 503: Busy}
    below = at.but("/below")
    assert dict(below("POST /", get, "Get.", Thing).answers) == {200: Thing, 400: Detail, 503: Busy}


async def test_an_app_takes_the_request_over() -> None:
    """In place of a handler."""

    async def app(*_: object) -> None:
        return None

    made = AT("GET /stream", None, "A stream.", Thing, app=app)
    assert made.answering is app
