"""A slot holds a request as it is and as it ended, whichever instruction is its process's last."""

import mmap
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate.errors import StoreError
from llmgate.ledger.model import Outcome, Pledge, UsageRecord
from llmgate.ledger.slot import SLOT, Slot, read_slot, texts_of
from llmgate.usage.model import Certainty

from .ledgers import draft, record

PLEDGES = (Pledge(3, 0.0, "tokens"), Pledge(4, 86_400.0, "requests"))


class Places:
    """Where slots come from: some bytes, of which the second slot is used."""

    def __init__(self) -> None:
        self.bytes = mmap.mmap(-1, 3 * SLOT)
        self.back: list[tuple[mmap.mmap, int]] = []

    def take_back(self, place: tuple[mmap.mmap, int]) -> None:
        self.back.append(place)

    def open(self, of: UsageRecord, pledges: Any = PLEDGES) -> Slot:
        return Slot(self, (self.bytes, SLOT), of, texts_of(of, pledges))

    def read(self) -> Any:
        assert self.bytes[:SLOT] == self.bytes[2 * SLOT :] == bytes(SLOT), "others' slots are left alone"
        return read_slot(self.bytes[:], SLOT)


def values_of(field: msgspec.structs.FieldInfo) -> st.SearchStrategy[Any]:
    by_name = {"certainty": st.sampled_from(list(Certainty)), "outcome": st.sampled_from(list(Outcome))}
    if field.name in by_name:
        return by_name[field.name]
    numbers = st.integers(0, 2**15 - 1 if field.name == "status" else 2**62)
    by_type = {"str": st.text(max_size=12), "int": numbers, "float": st.floats(0, 1e12)}
    kinds = [
        by_type.get(kind.strip(), st.none())
        for kind in str(UsageRecord.__annotations__[field.name]).split("|")
    ]
    return st.one_of(kinds)


RECORDS = st.builds(
    UsageRecord, **{field.name: values_of(field) for field in msgspec.structs.fields(UsageRecord)}
)


@given(RECORDS, RECORDS, st.lists(RECORDS, max_size=2))
def test_whatever_a_request_was_and_became_is_read_as_it_ended(
    admitted: UsageRecord, ended: UsageRecord, noted: list[UsageRecord]
) -> None:
    """Field for field, whether a field has a count's place or is a word."""
    places = Places()
    slot = places.open(admitted)
    assert places.read() == (admitted, PLEDGES)
    for one in noted:
        slot.note(one)
    slot.end(ended)
    assert places.read() == (ended, PLEDGES)


def test_only_the_first_end_counts_and_nothing_is_noted_after_it() -> None:
    places = Places()
    slot = places.open(draft())
    slot.end(record(tokens=5))
    slot.note(record(tokens=6))
    slot.end(record(tokens=7))
    assert places.read() == (record(tokens=5), PLEDGES)


def test_a_slot_that_is_freed_is_given_back_once() -> None:
    places = Places()
    slot = places.open(draft())
    slot.free()
    slot.free()
    slot.note(record(tokens=6))
    slot.end(record(tokens=7))
    assert (places.read(), places.back) == (None, [(places.bytes, SLOT)])


def test_until_its_last_store_a_slot_is_free_and_an_end_has_not_been(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may be killed between any two instructions: the one word is written last."""
    from llmgate.ledger import slot as module

    places, snapshots = Places(), []
    state = module._STATE

    class Watched:
        def pack_into(self, *arguments: Any) -> None:
            snapshots.append(places.read())
            state.pack_into(*arguments)

        unpack_from = state.unpack_from

    monkeypatch.setattr(module, "_STATE", Watched())
    slot = places.open(draft())
    slot.end(record(tokens=5, model="another"))
    slot.free()
    assert snapshots == [None, (draft(), PLEDGES), (record(tokens=5, model="another"), PLEDGES)]


def test_long_names_are_cut_and_keep_their_numbers() -> None:
    """Bytes, not characters: no name takes more than 64."""
    places = Places()
    slot = places.open(record("r", model="模" * 2000, route="/r"))
    assert places.read()[0].model == "模" * 21
    slot.end(record("r", 9, model="m" * 2000, route="/r"))
    assert (places.read()[0].model, places.read()[0].output_tokens) == ("m" * 64, 9)


def test_where_there_is_no_room_for_both_the_words_of_admission_and_the_last_numbers_hold() -> None:
    many = [Pledge(number, 86_400.0, "requests") for number in range(2**40, 2**40 + 47)]
    places = Places()
    slot = places.open(draft(), many)
    slot.end(record(tokens=5, model="another"))
    found, pledges = places.read()
    assert (found.output_tokens, found.outcome, found.model, list(pledges)) == (5, "finished", "smol", many)


def test_more_quotas_than_can_be_kept_are_refused() -> None:
    with pytest.raises(StoreError, match="100 quotas"):
        texts_of(draft(), PLEDGES * 50)
