"""The journal: what a dead process leaves behind, and who may read it."""

from pathlib import Path

import pytest

from llmgate.errors import StoreError
from llmgate.ledger.journal import SEGMENT, SLOT, Journal, abandoned, present
from llmgate.ledger.model import Charge, Entry, Pledge

from .ledgers import draft, record

PLEDGES = (Pledge(3, 0.0, "tokens"), Pledge(4, 86_400.0, "requests"))


def die(journal: Journal) -> None:
    """Leave the file as a killed process does: unlocked, with everything in it."""
    journal._free.clear()
    journal.close()


def left_in(folder: Path) -> list[Entry]:
    entries = []
    for found in abandoned(folder):
        entries += found.entries()
        found.close(remove=True)
    return entries


def test_a_journal_is_its_workers_for_as_long_as_it_lives(tmp_path: Path) -> None:
    """Others see that it is there, and cannot take it."""
    journal = Journal(tmp_path, "w")
    journal.open(draft(), ())
    assert (list(abandoned(tmp_path)), present(tmp_path)) == ([], {"w"})
    die(journal)
    assert [found.worker for found in abandoned(tmp_path)] == ["w"]


def test_nothing_is_left_of_a_worker_whose_requests_are_all_recorded(tmp_path: Path) -> None:
    """Its file goes with it."""
    journal = Journal(tmp_path, "w")
    slot = journal.open(draft(), ())
    slot.free()
    slot.free()
    slot.note(record(tokens=5))
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_had_not_been_answered_is_lost_for_nothing(tmp_path: Path) -> None:
    """Failed requests are free, and this one failed."""
    journal = Journal(tmp_path, "w")
    journal.open(draft("r-9"), PLEDGES)
    die(journal)
    assert left_in(tmp_path) == [Entry(draft("r-9"))]


def test_a_request_that_was_being_answered_is_charged_with_what_was_noted_last(tmp_path: Path) -> None:
    """The counts, times and status of its last note, out of the lease of the worker that died."""
    journal = Journal(tmp_path, "w")
    slot = journal.open(draft(), PLEDGES)
    for count in (10, 30):
        noted = record(tokens=count, outcome="lost", certainty="partial", first_byte=None)
        slot.note(noted)
    die(journal)
    assert left_in(tmp_path) == [Entry(noted, (Charge(3, 0.0, 30, "w"), Charge(4, 86_400.0, 1, "w")))]


def test_a_request_that_had_ended_is_recorded_as_it_ended(tmp_path: Path) -> None:
    """Its record waited for the database when the process died."""
    journal = Journal(tmp_path, "w")
    journal.open(draft(), PLEDGES).end(record(tokens=44, status=206, reasoning_tokens=3, cost=9))
    die(journal)
    (entry,) = left_in(tmp_path)
    assert entry.record == record(tokens=44, status=206, reasoning_tokens=3, cost=9)
    assert entry.charges[0] == Charge(3, 0.0, 44, "w")


def test_slots_are_used_again_and_grow_with_what_is_under_way(tmp_path: Path) -> None:
    """Only what is open is left."""
    journal = Journal(tmp_path, "w")
    many = SEGMENT // SLOT + 10
    slots = [journal.open(draft(str(number)), ()) for number in range(many)]
    for slot in slots[5:]:
        slot.free()
    for _ in range(many):
        journal.open(draft("again"), ()).free()
    assert (tmp_path / "w.journal").stat().st_size == 2 * SEGMENT
    die(journal)
    assert sorted(entry.record.request_id for entry in left_in(tmp_path)) == ["0", "1", "2", "3", "4"]


def test_a_worker_may_lease_under_a_new_name(tmp_path: Path) -> None:
    """Charges go to the name that holds the leases."""
    journal = Journal(tmp_path, "w")
    journal.rename("w2")
    die(journal)
    (found,) = abandoned(tmp_path)
    assert found.worker == "w2"


def test_long_names_are_cut_and_too_many_quotas_refused(tmp_path: Path) -> None:
    """A slot has its size; what cannot be kept is not begun."""
    journal = Journal(tmp_path, "w")
    journal.open(record(model="m" * 2000, route="/r"), PLEDGES)
    with pytest.raises(StoreError, match="100 quotas"):
        journal.open(draft(), PLEDGES * 50)
    die(journal)
    (entry,) = left_in(tmp_path)
    assert (entry.record.model, entry.record.route) == ("m" * 64, "/r")


def test_what_cannot_be_read_is_said_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A damaged slot, or a file of something else, does not keep the gate from starting."""
    journal = Journal(tmp_path, "w")
    journal.open(draft("a"), ())
    journal.open(draft("b"), ())
    die(journal)
    path = tmp_path / "w.journal"
    data = bytearray(path.read_bytes())
    at = data.index(b"\xa1a")
    data[at - 4 : at + 4] = b"\xc1" * 8
    path.write_bytes(data)
    assert [entry.record.request_id for entry in left_in(tmp_path)] == ["b"]
    assert "cannot be read" in caplog.text


@pytest.mark.parametrize(
    "content", [b"", b"something else", b"llmgate journal 1\nw".ljust(1024, b"\0") + b"\xff" * 1024]
)
def test_a_file_of_something_else_is_kept_and_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """So is the journal of an older release."""
    (tmp_path / "x.journal").write_bytes(content)
    (found,) = abandoned(tmp_path)
    assert not found.readable
    found.put_aside()
    assert (tmp_path / "x.unread").read_bytes() == content
    assert list(abandoned(tmp_path)) == []
    assert "is no journal of this llmgate" in caplog.text


def test_a_journal_says_of_which_database_it_is(tmp_path: Path) -> None:
    """Also under a new name."""
    journal = Journal(tmp_path, "w", "db.example:5432/gate")
    journal.rename("w2")
    die(journal)
    (found,) = abandoned(tmp_path)
    assert (found.worker, found.database, found.readable) == ("w2", "db.example:5432/gate", True)


def test_a_folder_that_cannot_be_written_stops_the_gate_from_starting(tmp_path: Path) -> None:
    """With the place and the reason."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/workers/w\.journal: the journal cannot be written"):
        Journal(tmp_path / "file" / "workers", "w")
