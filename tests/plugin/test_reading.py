"""Bodies and queries read as types: what misfits says where, and what lenient readers let pass."""

from typing import Any

import msgspec
import pytest

from llmgate.errors import BadRequest, UnsupportedMediaType
from llmgate.plugin.reading import Unprocessable, media_type_of, read_json, read_pairs


class Inner(msgspec.Struct):
    count: int


class Thing(msgspec.Struct):
    region_id: int
    name: str = ""
    inner: Inner | None = None
    flag: bool = False


def misfit(body: bytes, **settings: Any) -> Unprocessable:
    with pytest.raises(Unprocessable) as refused:
        read_json(body, Thing, **settings)
    return refused.value


@pytest.mark.parametrize(
    ("body", "field", "is_missing"),
    [
        (b"{}", "region_id", True),
        (b'{"region_id": 1, "inner": {}}', "inner.count", True),
        (b'{"region_id": "x"}', "region_id", False),
        (b'{"region_id": 1, "inner": {"count": []}}', "inner.count", False),
    ],
)
def test_a_misfit_names_the_field(body: bytes, field: str, is_missing: bool) -> None:
    """So that a surface can say it in its guide's words, and with its guide's status."""
    found = misfit(body)
    assert (found.place, found.field, found.is_missing) == ("body", field, is_missing)
    assert found.param == field
    assert found.answer_status == 400
    assert found.given == (body != b"{}")


def test_a_misfit_says_what_is_wrong() -> None:
    """The reason without the place, beside the message that has both."""
    found = misfit(b'{"region_id": "x"}')
    assert found.detail == "Expected `int`, got `str`"
    assert found.message == "body: Expected `int`, got `str` - at `$.region_id`"


def test_lenient_readers_take_numbers_and_booleans_in_text() -> None:
    """As clients of a dynamically typed server have always sent them; unknown fields are ignored either way."""
    body = b'{"region_id": "1", "flag": "true", "name": "2", "unknown": {}}'
    assert read_json(body, Thing, lenient=True) == Thing(1, "2", None, True)
    assert misfit(body).field == "region_id"


def test_lenient_readers_still_refuse_what_is_no_number() -> None:
    assert misfit(b'{"region_id": "one"}', lenient=True).field == "region_id"


def test_lenient_readers_take_no_body_for_an_empty_object() -> None:
    """Which may lack a field all the same."""
    assert misfit(b"", lenient=True).is_missing
    assert read_json(b" ", Optional, lenient=True) == Optional()


class Optional(msgspec.Struct):
    name: str = "a"


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"region_id": 1, "region_id": 2}'])
def test_what_is_no_object_is_no_misfit(body: bytes) -> None:
    """It cannot be read at all."""
    with pytest.raises(BadRequest) as refused:
        read_json(body, Thing)
    assert not isinstance(refused.value, Unprocessable)


def test_a_form_names_its_misfits_too() -> None:
    with pytest.raises(Unprocessable) as refused:
        read_pairs(b"region_id=x", Thing, "query")
    assert (refused.value.place, refused.value.field) == ("query", "region_id")


@pytest.mark.parametrize(
    ("header", "media_type"),
    [(b"Application/JSON; charset=utf-8", "application/json"), (b"", ""), (b" text/plain ", "text/plain")],
)
def test_a_media_type_is_compared_without_case_and_parameters(header: bytes, media_type: str) -> None:
    """RFC 9110, 8.3.1."""
    assert media_type_of({"headers": [(b"content-type", header)]}) == media_type
    assert media_type_of({"headers": []}) == ""


def test_two_media_types_are_refused_as_readers_differ_in_which_they_believe() -> None:
    with pytest.raises(BadRequest, match="Content-Type: given more than once"):
        media_type_of({"headers": [(b"content-type", b"application/json"), (b"content-type", b"text/plain")]})


def test_a_compressed_body_is_415() -> None:
    with pytest.raises(UnsupportedMediaType, match="without a Content-Encoding"):
        media_type_of({"headers": [(b"content-encoding", b"GZip")]})
    assert media_type_of({"headers": [(b"content-encoding", b"Identity")]}) == ""
