"""What a team may have, and until when: products, defaults and the trial as pure functions."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct

from llmgate.plugin.kit.durations import Duration, days

from .shapes import Count, LimitReached, Money

if TYPE_CHECKING:
    from .products import Product

DAY = 86_400.0
WITHOUT_LIMITS = days(365)
"""How long a key lives where nothing is limited."""


class Plan(Struct, frozen=True, kw_only=True):
    """How much of everything. In gate.toml: `[plugins.llmgate_private_ai.defaults]`, for teams without a product."""

    users: Annotated[Count, Meta(description="Members of a team.")] = 100
    keys_per_user: Annotated[Count, Meta(description="LLM tokens of one user.")] = 5
    total_keys: Annotated[Count, Meta(description="LLM tokens of a team and its members.")] = 500
    service_keys: Annotated[Count, Meta(description="LLM tokens that a team itself owns.")] = 100
    vector_databases: Annotated[Count, Meta(description="Vector databases of a team and its members.")] = 100
    max_budget: Annotated[Money, Meta(description="Money that each key may spend in its period.")] = 27.0
    rpm: Annotated[Count, Meta(description="Requests per minute of each key.")] = 500
    renewal_days: Annotated[Count, Meta(description="Days of a period, and of the trial.")] = 30


@dataclass(frozen=True, slots=True)
class Standing:
    """What a team's plan follows from. `started_at`: its last payment, or when it was made."""

    started_at: float
    is_always_free: bool = False
    products: tuple[Product, ...] = ()

    @property
    def on_trial(self) -> bool:
        """Whether nobody pays for it, and nobody has said that nobody has to."""
        return not self.products and not self.is_always_free

    def trial_end(self, defaults: Plan) -> float | None:
        """When its trial ends, to the second; None for a team that is on none."""
        return self.started_at + defaults.renewal_days * DAY if self.on_trial else None


def plan_of(defaults: Plan, products: Iterable[Product]) -> Plan:
    """The largest of what each product gives; the defaults without one."""
    given = list(products)
    if not given:
        return defaults
    return Plan(
        users=max(each.user_count for each in given),
        keys_per_user=max(each.keys_per_user for each in given),
        total_keys=max(each.total_key_count for each in given),
        service_keys=max(each.service_key_count for each in given),
        vector_databases=max(each.vector_db_count for each in given),
        max_budget=max(each.max_budget_per_key for each in given),
        rpm=max(each.rpm_per_key for each in given),
        renewal_days=max(each.renewal_period_days for each in given),
    )


@dataclass(frozen=True, slots=True)
class Terms:
    """What one key gets: its life from now on, and what it may spend and ask meanwhile. Money in millionths."""

    life: Duration
    max_budget: int | None
    budget_duration: Duration | None
    rpm: int | None


UNLIMITED = Terms(WITHOUT_LIMITS, None, None, None)


def terms_of(plan: Plan, left: int) -> Terms:
    """A key's terms with `left` days to go in the period."""
    life = days(left)
    return Terms(life, round(plan.max_budget * 1_000_000), life, plan.rpm)


def days_left(standing: Standing, plan: Plan, now: float) -> int:
    """Whole days, the one that has begun included, to the end of the period; of the trial: 0 or less at its end.

    The period of a team that pays begins anew when its payment is late: the products say whether it pays.
    """
    left = math.ceil((standing.started_at - now) / DAY + plan.renewal_days)
    return left if left > 0 or standing.on_trial else plan.renewal_days


@dataclass(frozen=True, slots=True)
class Counted:
    """What there is already."""

    tokens: int = 0
    users_tokens: int = 0
    service_tokens: int = 0
    databases: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A key to be made: of what it consists, and for whom."""

    token: bool
    database: bool
    in_team: bool
    for_team: bool


def check_key(plan: Plan, there: Counted, wanted: Wanted) -> None:
    """Raise `LimitReached` where the plan has no room for one more."""
    if wanted.token:
        if wanted.in_team and there.tokens >= plan.total_keys:
            raise LimitReached(f"Team has reached the maximum LLM token limit of {plan.total_keys} tokens")
        if wanted.for_team and there.service_tokens >= plan.service_keys:
            raise LimitReached(
                f"Team has reached the maximum service LLM token limit of {plan.service_keys} tokens"
            )
        if not wanted.for_team and there.users_tokens >= plan.keys_per_user:
            raise LimitReached(f"User has reached the maximum LLM token limit of {plan.keys_per_user} tokens")
    if wanted.database and there.databases >= plan.vector_databases:
        who = "Team" if wanted.in_team else "User"
        raise LimitReached(
            f"{who} has reached the maximum vector DB limit of {plan.vector_databases} databases"
        )


def check_users(plan: Plan, there: int) -> None:
    """Raise `LimitReached` where the team is full."""
    if there >= plan.users:
        raise LimitReached(f"Team has reached the maximum user limit of {plan.users} users")
