"""What a database driver says, in llmgate's words: the only place that knows the drivers' errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BadRequest, GateError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import ExceptionContext

_AWAY = "cannot be reached: check that it runs and that [store] url is right"
_BEHIND = "does not have the tables that are needed: run `llmgate migrate`"
_FULL = "is on a full disk: free some space, nothing was written"
_LOCKED = "is locked by another process: end whatever holds it, or raise [store] busy_timeout"
_REFUSED = "refused a row that contradicts what is there"

# https://www.sqlite.org/rescode.html: the primary codes, which are the low byte of the extended ones
_SQLITE = {
    1: _BEHIND,
    5: _LOCKED,
    6: _LOCKED,
    8: "cannot be written: give the gate's user write access to the file and to its folder",
    10: "could not be read or written: check the disk",
    11: "is damaged: restore it from a backup",
    13: _FULL,
    14: "cannot be opened: create its folder and give the gate's user access to it",
    19: _REFUSED,
    26: "is not an SQLite file: check [store] url",
}

# https://www.postgresql.org/docs/current/errcodes-appendix.html: whole codes first, then their classes
_POSTGRES = {
    "3D000": "does not exist: create it, or check [store] url",
    "25006": "cannot be written: it is a read-only replica",
    "42P01": _BEHIND,
    "42703": _BEHIND,
    "53100": _FULL,
    "53300": "has no connection left: raise its max_connections or run fewer workers",
    "55P03": _LOCKED,
    "57P03": "is starting up or shutting down: try again",
    "08": _AWAY,
    "23": _REFUSED,
    "28": "refuses these credentials: check user and password in [store] url",
    "40": "gave up on a transaction that ran into another: try again",
    "57": _AWAY,
}


def hook(place: str) -> Callable[[ExceptionContext], GateError | None]:
    """SQLAlchemy's `handle_error` hook for the database that `place` names: what to raise instead."""

    def on_error(context: ExceptionContext) -> GateError | None:
        error = context.original_exception
        # A cancelled task is not the database's fault, and a pool that finds a dead connection opens another.
        if context.is_pre_ping or not isinstance(error, Exception):
            return None
        return fault(error, place)

    return on_error


def fault(error: Exception, place: str) -> GateError:
    """`error`, raised by a driver, as llmgate's own; `place` names the database.

    A value that no column holds (an integer over 64 bits, a NUL in PostgreSQL's text, half of a surrogate
    pair) is the caller's mistake: `BadRequest`. All else is a `StoreError` that says what to do.
    """
    for cause in (error, error.__cause__):
        code = getattr(cause, "sqlstate", None) or ""
        if isinstance(cause, ValueError | OverflowError) or code.startswith("22"):
            return BadRequest("A value is out of range or holds characters that cannot be stored.")
    return StoreError(f"store ({place}): the database {_remedy(error)} ({_said(error)})")


def _remedy(error: Exception) -> str:
    for cause in (error, error.__cause__):
        if isinstance(code := getattr(cause, "sqlite_errorcode", None), int):
            return _SQLITE.get(code & 0xFF, "failed")
        if isinstance(state := getattr(cause, "sqlstate", None), str):
            return _POSTGRES.get(state) or _POSTGRES.get(state[:2], "failed")
    return _AWAY if isinstance(error, OSError | TimeoutError) else "failed"


def _said(error: Exception) -> str:
    """The driver's own words, in one line, or the error's name where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
