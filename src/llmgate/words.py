"""Fixed sets of words that are looked up for every request."""

from __future__ import annotations

from enum import StrEnum


class Words(StrEnum):
    """A `StrEnum` whose members cost no more than other names and other strings.

    Python 3.11 looks a member up by a property that is written in Python, and hashes it by a method: both take
    ten times as long as what is done with it.
    """

    __hash__ = str.__hash__

    def __init_subclass__(cls) -> None:
        for name, member in cls.__members__.items():
            type.__setattr__(cls, name, member)
