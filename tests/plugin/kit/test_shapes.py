"""What stands between guides and services."""

from dataclasses import dataclass

import pytest
import sqlalchemy as sa
from msgspec import UNSET, Struct, UnsetType

from llmgate.errors import BadRequest, UpstreamFailed, detail_shape
from llmgate.plugin.kit.formats import naive_iso
from llmgate.plugin.kit.shapes import filled, given, masked, with_statuses


@dataclass(frozen=True)
class Row:
    id: int
    name: str
    hidden: str
    created_at: float
    ended_at: float | None


class Shown(Struct, frozen=True):
    id: int
    name: str
    created_at: str
    ended_at: str | None
    extra: int = 0


class Change(Struct, frozen=True):
    name: str | UnsetType = UNSET
    text: str | UnsetType | None = UNSET


class Token(Struct, frozen=True):
    access_token: str
    kind: str = "bearer"

    __repr__ = masked("access_token")


class LongToken(Token, frozen=True):
    refresh_token: str = "r"

    __repr__ = masked("access_token", "refresh_token")


ROW = Row(7, "seven", "secret", 1_770_292_800.5, None)


def test_a_struct_is_filled_from_a_row() -> None:
    """By its names; times as RFC 3339 has them, or as the guide does."""
    assert filled(Shown, ROW, extra=1) == Shown(7, "seven", "2026-02-05T12:00:00Z", None, 1)
    assert filled(Shown, ROW, time=naive_iso, extra=0).created_at == "2026-02-05T12:00:00"


def test_values_come_before_those_of_the_row() -> None:
    """Times among them are what they are."""
    assert filled(Shown, ROW, name="other", created_at="now", extra=0) == Shown(7, "other", "now", None)


def test_a_column_may_be_called_as_tuples_call_their_methods() -> None:
    """A row is a tuple, which has a `count` and an `index` of its own."""

    class Counted(Struct, frozen=True):
        count: int
        index: str

    query = sa.select(sa.literal(7).label("count"), sa.literal("a").label("index"))
    with sa.create_engine("sqlite://").connect() as db:
        row = db.execute(query).one()
    assert filled(Counted, row) == Counted(7, "a")


def test_what_neither_has_is_an_error() -> None:
    """No field is forgotten."""
    with pytest.raises(AttributeError, match="extra"):
        filled(Shown, ROW)


def test_what_was_left_out_is_not_given() -> None:
    """Null was given."""
    assert given(Change()) == {}
    assert given(Change(text=None)) == {"text": None}


def test_names_are_kept_as_names() -> None:
    """Those that are given."""
    assert given(Change(name="e\u0301"), names=("name", "text")) == {"name": "\xe9"}
    with pytest.raises(BadRequest):
        given(Change(name="\n"), names=("name",))


def test_secrets_do_not_show() -> None:
    """Nor those of a subclass, whose name it has."""
    assert repr(Token("secret")) == "Token(access_token='***', kind='bearer')"
    assert repr(LongToken("secret")) == ("LongToken(access_token='***', kind='bearer', refresh_token='***')")


def test_a_guide_has_statuses_of_its_own() -> None:
    """For exactly those refusals; the rest of the answer stays."""
    shape = with_statuses(detail_shape, {UpstreamFailed: 500})

    class Other(UpstreamFailed):
        pass

    assert shape(UpstreamFailed("gone"))[0] == 500
    assert shape(UpstreamFailed("gone"))[1:] == detail_shape(UpstreamFailed("gone"))[1:]
    assert (shape(Other("gone"))[0], shape(BadRequest("bad"))[0]) == (502, 400)
