"""Rows of LiteLLM's table of keys, in the types of a database, of JSON and of CSV."""

import datetime as dt
from hashlib import sha256
from typing import Any

import pytest

from llmgate.ledger import Window
from llmgate.permissions import Permissions
from llmgate.tools.litellm_keys import ForeignKey, read_keys

NOW = 1_800_000_000.0
HASH = sha256(b"sk-1234").hexdigest()
ROW: dict[str, Any] = {
    "token": HASH,
    "key_name": "sk-...1234",
    "key_alias": "web site",
    "user_id": "ann",
    "team_id": "t-1",
    "max_budget": 25.5,
    "budget_duration": "30d",
    "budget_reset_at": "2027-01-25T08:00:00+00:00",
    "spend": 1.25,
    "expires": dt.datetime(2028, 1, 1),
    "rpm_limit": 60,
    "tpm_limit": 9000,
    "models": ["gpt-4", "llama-*"],
}
EMPTY = {"models": "{gpt-4,llama-*}", "blocked": "", "metadata": "{}", "aliases": "{}", "permissions": "{}"}
AS_CSV = {name: str(value) for name, value in ROW.items()} | EMPTY


@pytest.mark.parametrize("row", [ROW, AS_CSV], ids=["database", "csv"])
def test_a_key_as_it_is(row: dict[str, Any]) -> None:
    """LiteLLM's hash of a key is the gate's; times without a zone are UTC."""
    found = read_keys([row], now=NOW, teams={"t-1": "Bees"})
    assert found.keys == [
        ForeignKey(
            hash=HASH,
            name="web site",
            last_four="1234",
            user="ann",
            team="Bees",
            expires_at=dt.datetime(2028, 1, 1, tzinfo=dt.UTC).timestamp(),
            budget=25_500_000,
            window=Window("30d"),
            resets_at=1_800_864_000.0,
            spent=1_250_000,
            requests_per_minute=60,
            permissions=Permissions(models=("gpt-4", "llama-*"), tokens_per_minute=9000),
        )
    ]
    assert (found.left_out, found.report) == ([], [])
    assert found.keys[0].anchor == 1_800_864_000.0 - 30 * 86_400


def test_a_key_with_nothing_but_its_token() -> None:
    """One that is in clear, as LiteLLM never stores it, is hashed as LiteLLM would."""
    (key,) = read_keys([{"token": "sk-1234"}], now=NOW).keys
    assert (key.hash, key.name, key.user, key.team, key.budget, key.window) == (
        *(HASH, "row 1", None, None, None, Window.NONE),
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"blocked": True}, "it is blocked"),
        ({"blocked": "t"}, "it is blocked"),
        ({"expires": "2020-01-01T00:00:00"}, "it has expired"),
        ({"models": ["no-default-models"]}, "it may ask no model"),
        ({"max_parallel_requests": "3"}, "as max_parallel_requests cannot be held"),
        (
            {"permissions": {"a": 1}, "allowed_routes": ["/x"]},
            "allowed_routes and permissions cannot be held: --widen",
        ),
        ({"permissions": '{"get_spend_routes": true}'}, "as permissions cannot be held"),
        ({"token": "abc"}, "its token is no SHA-256"),
        ({"max_budget": "much"}, "max_budget 'much' is no number"),
        ({"max_budget": -1}, "max_budget -1 is out of range"),
        ({"budget_duration": "soon"}, "budget_duration 'soon' is no duration"),
        ({"expires": "tomorrow"}, "expires 'tomorrow' is no time"),
    ],
)
def test_what_does_not_come_along(change: dict[str, Any], reason: str) -> None:
    """A key is never good for more than before, and a row that cannot be read is told by its name."""
    found = read_keys([{**ROW, **change}, ROW], now=NOW)
    assert len(found.keys) == 1 and len(found.left_out) == 1
    assert found.left_out[0].startswith("web site: ") and reason in found.left_out[0]


@pytest.mark.parametrize(
    ("models", "held"),
    [
        *(
            (models, None)
            for models in ([], None, ["all-proxy-models", "x"], ["all-team-models"], "{}", "[]")
        ),
        *(
            (models, ("gpt-4", "small"))
            for models in (["gpt-4", "small"], '{"gpt-4",small}', '["gpt-4", "small"]')
        ),
    ],
)
def test_which_models(models: Any, held: tuple[str, ...] | None) -> None:
    (key,) = read_keys([{**ROW, "models": models}], now=NOW).keys
    assert key.permissions.models == held


def test_what_has_no_counterpart_is_told_once_for_all_keys() -> None:
    rows = [{**ROW, "key_alias": f"k{n}", "metadata": {"a": 1}, "allowed_routes": ["/a"]} for n in range(7)]
    found = read_keys(rows, now=NOW, widen=True)
    assert len(found.keys) == 7
    assert found.report == [
        "metadata of k0, k1, k2, k3, k4 and 2 more: keys carry no data of their own",
        "allowed_routes of k0, k1, k2, k3, k4 and 2 more: which paths it may use: not restricted any more",
    ]


@pytest.mark.parametrize(
    ("written", "window"),
    [("60s", "1m"), ("24h", "1d"), ("1w", "7d"), ("1mo", "month"), ("2mo", "60d"), ("monthly", "month")],
)
def test_durations(written: str, window: str) -> None:
    (key,) = read_keys([{**ROW, "budget_duration": written}], now=NOW).keys
    assert key.window == Window(window)
