"""Who makes a request, and what was said of them."""

import pytest

from llmgate.exchange import Principal
from llmgate.permissions import NOTHING_SAID, Permissions


def said(**permissions: object) -> Permissions:
    return NOTHING_SAID.changed(permissions)


ANN = Principal(1, "ann")


@pytest.mark.parametrize(
    ("key", "organization", "may"),
    [
        (None, None, True),
        (said(models=("small",)), None, True),
        (said(models=("large",)), None, False),
        (None, said(models=("sm*",)), True),
        (said(models=("small",)), said(models=("large",)), False),
    ],
)
def test_what_was_said_of_the_key_and_of_the_organization_both_hold(
    key: Permissions | None, organization: Permissions | None, may: bool
) -> None:
    principal = Principal(1, "ann", key_may=key, organization_may=organization)
    assert principal.may_ask("small") is may
    assert principal.held_to_models is (key is not None or organization is not None)


def test_a_key_without_a_priority_has_that_of_its_organization() -> None:
    assert ANN.priority == 0
    assert Principal(1, "ann", organization_may=said(priority=5)).priority == 5
    assert Principal(1, "ann", key_may=said(priority=-1), organization_may=said(priority=5)).priority == -1


def test_who_was_told_nothing_may_ask_for_everything() -> None:
    assert ANN.may_ask("anything")
    assert not ANN.held_to_models
