"""Plans and trials, without a store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmgate_private_ai.plans import (
    DAY,
    Counted,
    Plan,
    Standing,
    Wanted,
    check_key,
    check_users,
    days_left,
    plan_of,
    terms_of,
)
from llmgate_private_ai.products import Product
from llmgate_private_ai.shapes import LimitReached

NOW = 1_800_000_000.0
SMALL = Product(id="prod_s", name="small")
LARGE = Product(
    id="prod_l", name="large", user_count=20, keys_per_user=1, max_budget_per_key=100, rpm_per_key=50
)
MEMBERS = Wanted(token=True, database=True, in_team=True, for_team=False)


def test_without_a_product_the_defaults_hold() -> None:
    assert plan_of(Plan(), []) == Plan(
        users=100, keys_per_user=5, total_keys=500, service_keys=100, vector_databases=100,
        max_budget=27, rpm=500, renewal_days=30,
    )  # fmt: skip


def test_of_several_products_the_largest_of_each_holds_and_the_defaults_do_not() -> None:
    plan = plan_of(Plan(), [SMALL, LARGE])
    assert (plan.users, plan.keys_per_user, plan.max_budget, plan.rpm) == (20, 1, 100, 500)


@pytest.mark.parametrize(
    ("there", "wanted", "message"),
    [
        (Counted(tokens=6), MEMBERS, "Team has reached the maximum LLM token limit of 6 tokens"),
        (Counted(users_tokens=1), MEMBERS, "User has reached the maximum LLM token limit of 1 tokens"),
        (
            Counted(service_tokens=5),
            Wanted(token=True, database=False, in_team=True, for_team=True),
            "Team has reached the maximum service LLM token limit of 5 tokens",
        ),
        (Counted(databases=1), MEMBERS, "Team has reached the maximum vector DB limit of 1 databases"),
    ],
)
def test_a_plan_that_is_full_says_of_what(there: Counted, wanted: Wanted, message: str) -> None:
    with pytest.raises(LimitReached) as refused:
        check_key(plan_of(Plan(), [SMALL]), there, wanted)
    assert (refused.value.message, refused.value.answer_status) == (message, 402)


@pytest.mark.parametrize(
    ("there", "wanted"),
    [
        (Counted(tokens=5), MEMBERS),
        (
            Counted(tokens=99, users_tokens=99),
            Wanted(token=False, database=True, in_team=True, for_team=False),
        ),
        (Counted(databases=9), Wanted(token=True, database=False, in_team=True, for_team=False)),
        (Counted(users_tokens=9), Wanted(token=True, database=False, in_team=True, for_team=True)),
        (Counted(tokens=99), Wanted(token=True, database=False, in_team=False, for_team=False)),
    ],
    ids=["one left", "a database is no token", "a token is no database", "a team's is no user's", "no team"],
)
def test_what_is_not_asked_for_is_not_counted(there: Counted, wanted: Wanted) -> None:
    check_key(plan_of(Plan(), [SMALL]), there, wanted)


def test_a_full_team() -> None:
    check_users(Plan(users=2), 1)
    with pytest.raises(LimitReached, match="Team has reached the maximum user limit of 2 users"):
        check_users(Plan(users=2), 2)


def test_a_trial_ends_to_the_second() -> None:
    trial = Standing(started_at=NOW)
    assert trial.on_trial and trial.trial_end(Plan()) == NOW + 30 * DAY
    assert [days_left(trial, Plan(), NOW + d * DAY) for d in (0, 0.5, 23, 29.999, 30, 31)] == [
        30,
        30,
        7,
        1,
        0,
        -1,
    ]


@pytest.mark.parametrize("standing", [Standing(NOW, is_always_free=True), Standing(NOW, products=(SMALL,))])
def test_who_pays_or_never_has_to_is_on_no_trial(standing: Standing) -> None:
    assert not standing.on_trial and standing.trial_end(Plan()) is None


def test_a_late_payment_ends_no_period() -> None:
    paying = Standing(NOW, products=(SMALL,))
    assert [days_left(paying, Plan(), NOW + d * DAY) for d in (0, 29.5, 30, 300)] == [30, 1, 30, 30]


def test_terms_of_a_key() -> None:
    terms = terms_of(Plan(max_budget=20.5), 7)
    assert (terms.life.text, terms.budget_duration, terms.max_budget, terms.rpm) == (
        "7d",
        terms.life,
        20_500_000,
        500,
    )


@given(
    st.lists(
        st.builds(Product, id=st.just("p"), name=st.just("p"), user_count=st.integers(0, 99)), min_size=1
    )
)
def test_another_product_never_takes_anything_away(products: list[Product]) -> None:
    assert plan_of(Plan(), products).users == max(product.user_count for product in products)
