"""LiteLLM's keys, as its database or an export of it has them, read as keys of the gate.

A row is one of LiteLLM's table `LiteLLM_VerificationToken`, in the types of a database, of JSON or of CSV. Its column
`token` is the SHA-256 of the key, which is what the gate keeps of a key as well: so a key goes on as it is, and nobody
has to see it. Whatever a row says that has no counterpart is in the report, and a key that would open more than
before is left out.

Nothing here does input or output.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any

from ..ledger import Window
from ..ledger.model import MILLION
from ..permissions import Permissions

PREFIX = "sk-"
NAMED_AT_MOST = 5
"""Keys that a line of the report names."""
EVERY_MODEL = frozenset({"all-proxy-models", "all-team-models", "*"})
NO_MODEL = "no-default-models"

RESTRICTS: Mapping[str, str] = MappingProxyType(
    {
        "allowed_routes": "which paths it may use",
        "permissions": "what else it may do",
        "model_max_budget": "a budget for each model",
        "max_parallel_requests": "requests at once",
    }
)
"""What makes a key open less, and is not held by the gate for one key: [[limits]] hold for all."""
NO_COUNTERPART: Mapping[str, str] = MappingProxyType(
    {
        "soft_budget": "no alert at a part of a budget",
        "aliases": "names of models are gate.toml's ([upstreams.NAME.models])",
        "config": "settings are gate.toml's",
        "metadata": "keys carry no data of their own",
        "allowed_cache_controls": "answers are not cached",
        "budget_id": "set the budget by `llmgate quota set --key`",
        "organization_id": "a team is an organization here; there is none above it",
        "auto_rotate": "make another key, and revoke this one",
    }
)
_HASH = re.compile(r"[0-9a-f]{64}")
_DURATION = re.compile(r"(\d+)(s|m|h|d|w|mo)")
_WORDS = {"hourly": "1h", "daily": "1d", "weekly": "7d", "monthly": "1mo"}


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A key to bring along. Money in millionths, times in seconds since the epoch.

    `budget` lasts for a `window`, in which `spent` was spent so far; `resets_at` is when it starts over.
    """

    hash: str
    name: str
    last_four: str
    user: str | None
    team: str | None
    expires_at: float | None
    budget: int | None
    window: Window
    resets_at: float | None
    spent: int
    requests_per_minute: int | None
    permissions: Permissions

    @property
    def anchor(self) -> float:
        """From when the periods of its budget are counted."""
        seconds = self.window.seconds
        return self.resets_at - seconds if seconds is not None and self.resets_at is not None else 0.0


@dataclass(slots=True)
class ReadKeys:
    """What was found: keys, why others are left out, and what of the keys is not taken over."""

    keys: list[ForeignKey] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    report: list[str] = field(default_factory=list)


def read_keys(
    rows: Iterable[Mapping[str, Any]],
    *,
    now: float,
    widen: bool = False,
    teams: Mapping[str, str] = MappingProxyType({}),
) -> ReadKeys:
    """The keys in `rows`. `teams` are the names of teams by their id; without one, the id is the name.

    With `widen`, keys come along that the gate does not restrict as LiteLLM did.
    """
    found = ReadKeys()
    dropped: dict[str, list[str]] = defaultdict(list)
    for number, row in enumerate(rows, 1):
        called = _text(row.get("key_alias")) or _text(row.get("key_name")) or f"row {number}"
        try:
            reason = _left_out(row, now, widen=widen)
            key = None if reason else _key(row, called, teams)
        except ValueError as error:
            reason, key = str(error), None
        if key is None:
            found.left_out.append(f"{called}: {reason}")
            continue
        found.keys.append(key)
        for name in (*NO_COUNTERPART, *RESTRICTS):
            if _said(row.get(name)):
                dropped[name].append(called)
    for name, keys in dropped.items():
        more = f" and {len(keys) - NAMED_AT_MOST} more" if len(keys) > NAMED_AT_MOST else ""
        remark = NO_COUNTERPART.get(name) or f"{RESTRICTS[name]}: not restricted any more"
        found.report.append(f"{name} of {', '.join(keys[:NAMED_AT_MOST])}{more}: {remark}")
    return found


def _left_out(row: Mapping[str, Any], now: float, *, widen: bool) -> str | None:
    """Why a key does not come along, if so."""
    if _flag(row.get("blocked")):
        return "it is blocked"
    expires_at = _time("expires", row.get("expires"))
    if expires_at is not None and expires_at <= now:
        return "it has expired"
    if NO_MODEL in _list(row.get("models")):
        return "it may ask no model"
    narrowed = [] if widen else [name for name in RESTRICTS if _said(row.get(name))]
    if narrowed:
        return f"it would open more than before, as {' and '.join(narrowed)} cannot be held: --widen takes it"
    return None


def _key(row: Mapping[str, Any], called: str, teams: Mapping[str, str]) -> ForeignKey:
    hashed = _text(row.get("token"))
    if hashed.startswith(PREFIX):
        hashed = sha256(hashed.encode()).hexdigest()
    if not _HASH.fullmatch(hashed):
        raise ValueError("its token is no SHA-256 of 64 hexadecimal digits")
    team, shown = _text(row.get("team_id")), _text(row.get("key_name"))
    budget = _number("max_budget", row.get("max_budget"))
    rate, tokens = _number("rpm_limit", row.get("rpm_limit")), _number("tpm_limit", row.get("tpm_limit"))
    return ForeignKey(
        hash=hashed,
        name=" ".join("".join(c if c.isprintable() else " " for c in called).split())[:255] or hashed[:8],
        last_four=shown[-4:] if "..." in shown else "",
        user=_text(row.get("user_id")) or None,
        team=(_text(row.get("team_alias")) or teams.get(team, team)) or None,
        expires_at=_time("expires", row.get("expires")),
        budget=None if budget is None else round(budget * MILLION),
        window=_window(_text(row.get("budget_duration"))),
        resets_at=_time("budget_reset_at", row.get("budget_reset_at")),
        spent=round((_number("spend", row.get("spend")) or 0) * MILLION),
        requests_per_minute=None if rate is None else int(rate),
        permissions=Permissions(
            models=_models(row), tokens_per_minute=None if tokens is None else int(tokens)
        ),
    )


def _models(row: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Which models a key may ask, by name or pattern; None for all."""
    models = _list(row.get("models"))
    return tuple(models) if models and not EVERY_MODEL & set(models) else None


def _window(text: str) -> Window:
    """LiteLLM's `30d`, `1mo` and so on. A month of the calendar is that of the gate, in UTC."""
    if not text:
        return Window.NONE
    match = _DURATION.fullmatch(_WORDS.get(text, text))
    if match is None:
        raise ValueError(f"budget_duration {text[:40]!r} is no duration such as 30d")
    number, unit = int(match[1]), match[2]
    if unit == "mo":
        return Window.MONTH if number == 1 else Window(f"{number * 30}d")
    return Window(f"{number * 7}d" if unit == "w" else f"{number}{unit}")


def _said(value: object) -> bool:
    """Whether a column says something: not null, empty, or the empty JSON or array that databases default to."""
    return value not in (None, "", False, "f", "false", [], {}, "[]", "{}", "null")


def _list(value: object) -> list[str]:
    """An array of a database: a list, JSON, or PostgreSQL's `{a,b}` in a CSV."""
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            value = json.loads(text)
        else:
            value = [each.strip('"') for each in text.removeprefix("{").removesuffix("}").split(",") if each]
    return [str(each) for each in value] if isinstance(value, list | tuple) else []


def _text(value: object) -> str:
    return "" if value is None else str(value).strip()


def _flag(value: object) -> bool:
    return value is True or _text(value).lower() in ("t", "true", "1")


def _number(name: str, value: object) -> float | None:
    text = _text(value)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{name} {text[:40]!r} is no number") from None
    if not 0 <= number < 1e12:
        raise ValueError(f"{name} {text[:40]} is out of range")
    return number


def _time(name: str, value: object) -> float | None:
    """A time of a database (without a zone, in UTC), or as ISO 8601 writes it."""
    if isinstance(value, str) and value.strip():
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            raise ValueError(f"{name} {str(value)[:40]!r} is no time of ISO 8601") from None
    if not isinstance(value, dt.datetime):
        return None
    return (value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)).timestamp()
