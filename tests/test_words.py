"""Words that are looked up for every request are enums in all else."""

import msgspec
import pytest

from llmgate.words import Words


class Colour(Words):
    """Two of them."""

    RED = "red"
    BLUE = "blue"


def test_a_member_is_at_hand_in_the_class_and_is_a_member_still() -> None:
    assert Colour.__dict__["RED"] is Colour("red") is Colour["RED"]
    assert [*Colour] == [Colour.RED, Colour.BLUE]
    assert isinstance(Colour.RED, Colour)


def test_it_is_the_string_that_it_stands_for() -> None:
    assert {Colour.RED: 1}["red"] == 1
    assert f"{Colour.BLUE}" == "blue"
    assert msgspec.json.decode(msgspec.json.encode(Colour.RED), type=Colour) is Colour.RED


def test_what_is_no_member_is_none() -> None:
    with pytest.raises(ValueError, match="green"):
        Colour("green")
