"""What drivers say, in llmgate's words: the operator is told what to do, the caller what was wrong."""

import sqlite3

import pytest

from llmgate.errors import BadRequest, StoreError
from llmgate.store.db_errors import fault

PLACE = "sqlite:///gate.db"


def sqlite(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("something")
    error.sqlite_errorcode = code
    return error


class Postgres(Exception):
    """An error of asyncpg's, as far as it is looked at."""

    def __init__(self, sqlstate: str) -> None:
        super().__init__("something")
        self.sqlstate = sqlstate


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (sqlite(5), "is locked by another process"),
        (sqlite(5 | 2 << 8), "is locked by another process"),  # an extended code
        (sqlite(13), "is on a full disk"),
        (sqlite(1), "run `llmgate migrate`"),
        (Postgres("42P01"), "run `llmgate migrate`"),
        (Postgres("53300"), "has no connection left"),
        (Postgres("57014"), "cannot be reached"),  # by its class
        (ConnectionRefusedError("no"), "cannot be reached"),
        (sqlite(99), "failed"),
        (RuntimeError("odd"), "failed"),
    ],
)
def test_a_fault_of_the_database_says_where_and_what_to_do(error: Exception, remedy: str) -> None:
    told = fault(error, PLACE)
    assert isinstance(told, StoreError)
    assert str(told).startswith(f"store ({PLACE}): the database ")
    assert remedy in str(told)


@pytest.mark.parametrize("error", [Postgres("22003"), OverflowError("too large"), ValueError("a NUL")])
def test_a_value_that_no_column_holds_is_the_callers_mistake(error: Exception) -> None:
    assert isinstance(fault(error, PLACE), BadRequest)


def test_the_cause_of_a_wrapped_error_is_looked_at() -> None:
    wrapped = RuntimeError("wrapped")
    wrapped.__cause__ = Postgres("55P03")
    assert "is locked" in str(fault(wrapped, PLACE))


def test_what_is_said_is_one_line() -> None:
    """It goes into logs."""
    assert "a b c" in str(fault(RuntimeError("a\n b\tc"), PLACE))
