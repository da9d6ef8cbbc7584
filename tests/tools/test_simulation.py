"""The ledger's requests against another gate.toml."""

from __future__ import annotations

from typing import Any

from llmgate.ledger import Allotment, Default, Outcome, Price, Prices, Subject, Unit, UsageRecord, Window
from llmgate.tools.simulation import Limit, Report, Rule, simulate
from llmgate.usage.model import Certainty

MIDNIGHT = 1_800_057_600.0  # 2027-01-16 00:00 UTC
FREE = Prices({})


def request(
    began: float, *, tokens: tuple[int, int] = (10, 5), seconds: float = 1.0, **values: Any
) -> UsageRecord:
    record = {
        "request_id": f"{began}",
        "at": began + seconds,
        "user_id": 1,
        "key_id": 7,
        "organization_id": None,
        "surface": "",
        "route": "/v1",
        "upstream": "local",
        "model": "small",
        "endpoint": "chat",
        "input_tokens": tokens[0],
        "output_tokens": tokens[1],
        "cached_tokens": 0,
        "reasoning_tokens": 0,
        "cost": 0,
        "certainty": Certainty.EXACT,
        "outcome": Outcome.FINISHED,
        "status": 200,
        "duration": seconds,
        "first_byte": None,
    }
    known = UsageRecord.__struct_fields__
    return UsageRecord(**{name: value for name, value in (record | values).items() if name in known})


def play(records: list[UsageRecord], *rules: Limit | Rule, prices: Prices = FREE, **more: Any) -> Report:
    limits = [rule for rule in rules if isinstance(rule, Limit)]
    quotas = [rule for rule in rules if isinstance(rule, Rule)]
    return simulate(records, limits=limits, quotas=quotas, prices=prices, **more)


def quota(limit: int, *, unit: Unit = Unit.TOKENS, window: Window = Window.NONE, **values: Any) -> Rule:
    return Rule("quotas[0]", Default("user", Allotment(unit, limit, window, **values)))


def test_a_gate_without_rules_refuses_nothing() -> None:
    report = play([request(0.0), request(1.0)])
    assert (report.requests, report.refused, report.span) == (2, 0, 2.0)


def test_requests_over_a_window_are_refused_with_who_and_when() -> None:
    limit = Limit("limits[0]", "key", "requests", 2, 60)
    report = play([request(0.0), request(1.0), request(2.0), request(61.0), request(3.0, key_id=8)], limit)
    (effect,) = report.effects
    assert (effect.refused, effect.first, effect.subjects) == (1, 2.0, {"key 7": 1})


def test_a_moving_window_looks_back_from_each_request() -> None:
    limit = Limit("limits[0]", "gate", "requests", 2, 60, moving=True)
    report = play([request(at) for at in (0.0, 50.0, 61.0, 62.0)], limit)
    assert report.refused == 1


def test_tokens_of_a_window_count_when_they_are_known() -> None:
    """Both requests that run at once are let in; the next one sees what they used."""
    limit = Limit("limits[0]", "route", "tokens", 20, 60)
    report = play([request(0.0, seconds=5), request(1.0, seconds=5), request(10.0)], limit)
    assert report.refused == 1


def test_requests_at_once_are_those_that_ran_at_once() -> None:
    limit = Limit("limits[0]", "user", "concurrent", 1, 0)
    report = play([request(0.0, seconds=10), request(5.0), request(10.0), request(11.5)], limit)
    assert report.refused == 1


def test_one_that_another_rule_refuses_frees_its_slot() -> None:
    slot = Limit("limits[0]", "user", "concurrent", 1, 0)
    none = Limit("limits[1]", "user", "requests", 1, 60)
    report = play([request(0.0), request(5.0, seconds=50), request(70.0)], slot, none)
    assert [effect.refused for effect in report.effects] == [0, 1]


def test_a_limit_holds_for_its_routes_alone() -> None:
    limit = Limit("limits[0]", "gate", "requests", 1, 60, routes=frozenset({"/other"}))
    assert play([request(0.0), request(1.0)], limit).refused == 0


def test_a_quota_shortens_the_answer_that_does_not_fit_and_refuses_the_next() -> None:
    report = play([request(0.0, tokens=(10, 30)), request(5.0, tokens=(1, 1))], quota(30))
    (effect,) = report.effects
    assert (effect.shortened, effect.refused) == (1, 1)


def test_a_prompt_that_does_not_fit_is_refused() -> None:
    assert play([request(0.0, tokens=(40, 1))], quota(30)).refused == 1


def test_a_daily_quota_starts_over_at_midnight() -> None:
    day = quota(1, unit=Unit.REQUESTS, window=Window.DAY)
    report = play([request(MIDNIGHT - 20), request(MIDNIGHT - 10), request(MIDNIGHT)], day)
    assert report.refused == 1


def test_what_was_refused_uses_nothing() -> None:
    report = play([request(0.0, tokens=(40, 0)), request(1.0, tokens=(20, 0))], quota(30))
    assert report.refused == 1


def test_a_quota_of_ones_own_stands() -> None:
    def own(subject: Subject, allotment: Allotment) -> Allotment | None:
        return Allotment(Unit.TOKENS, 1_000) if subject == Subject("user", 1) else None

    assert play([request(0.0, tokens=(40, 0))], quota(30), own=own).refused == 0


def test_quotas_of_one_model_or_upstream_count_that_alone() -> None:
    records = [request(0.0), request(1.0, model="large"), request(2.0, upstream="far")]
    assert play(records, quota(0, model="large")).refused == 1
    assert play(records, quota(0, upstream="far")).refused == 1


def test_costs_follow_the_new_prices_and_what_failed_costs_nothing() -> None:
    prices = Prices({"small": Price(input=1.0, output=2.0)})
    failed = request(2.0, outcome=Outcome.FAILED)
    report = play([request(0.0, cost=7), failed], prices=prices)
    assert (report.cost_then, report.cost_now) == (7, 10 * 1 + 5 * 2)


def test_limits_per_end_user_are_for_each_that_a_key_has_named() -> None:
    limit = Limit("limits[0]", "end_user", "requests", 1, 60)
    names = ["ada", "bob", "ada", "", ""]
    report = play([request(float(at), end_user=name) for at, name in enumerate(names)], limit)
    assert (report.requests, report.refused) == (5, 2)


def test_seconds_of_the_engine_have_their_price() -> None:
    prices = Prices({"small": Price(second=0.5)})
    report = play([request(0.0, engine_seconds=2.0), request(1.0, engine_seconds=None)], prices=prices)
    assert report.cost_now == 1_000_000
