"""How the guide writes things: errors, times, money, and the numbers in its paths."""

import msgspec
import pytest

from llmgate.plugin.api import BadRequest, NotFound, UnsupportedMediaType
from llmgate_private_ai.people import Person
from llmgate_private_ai.shapes import (
    LARGEST,
    LimitReached,
    ShownUser,
    guides_shape,
    id_in,
    iso,
    iso_or_none,
    money_of,
    unfit,
)


def test_times_have_their_zone_and_money_its_point() -> None:
    assert iso(1_800_000_000) == "2027-01-15T08:00:00+00:00"
    assert iso_or_none(0.0) == "1970-01-01T00:00:00+00:00"
    assert iso_or_none(None) is None
    assert (money_of(10_025), money_of(0), money_of(None)) == (0.010025, 0.0, None)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.0", "٣", " 1", str(LARGEST + 1), "9" * 5000])
def test_what_no_id_can_be_is_not_found(text: str) -> None:
    with pytest.raises(NotFound, match="Team not found"):
        id_in(text, "Team")


def test_an_id_is_its_number() -> None:
    assert [id_in(text, "Team") for text in ("0", "17", str(LARGEST))] == [0, 17, LARGEST]


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (LimitReached("full"), 402),
        (UnsupportedMediaType("full"), 400),
        (BadRequest("full"), 400),
        (unfit("full", "name"), 422),
    ],
)
def test_an_error_is_a_detail_that_is_a_string(refusal: BadRequest, status: int) -> None:
    found, _, body = guides_shape(refusal)
    assert (found, msgspec.json.decode(body)) == (status, {"detail": "full"})


def test_a_user_is_shown_without_what_the_team_has() -> None:
    shown = ShownUser.of(Person(1, "ann@example.com", True, False, 7, "Bees", "admin", False))
    assert shown == ShownUser(1, "ann@example.com", True, False, 7, "Bees", "admin")
