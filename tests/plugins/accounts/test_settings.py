"""`[plugins.llmgate_accounts]`: what fits, and what is refused at start-up with the remedy."""

from typing import Any

import pytest

from plugins.accounts import problems
from plugins.conftest import OpenGate


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"route": "/v2"}, 'route: no route "/v2" (known: /v1)'),
        ({"max_token_limit": 1}, "token_limit (10000) is over max_token_limit (1)"),
        ({"token_limit": -1}, "token_limit: expected"),
        ({"token_limit": 2**62}, "token_limit: expected"),
        ({"registration": "maybe"}, "registration: expected"),
        ({"tokn_limit": 1}, "tokn_limit: unknown key"),
    ],
)
async def test_settings_that_do_not_fit_are_refused(
    open_config: OpenGate, settings: dict[str, Any], problem: str
) -> None:
    """With their place."""

    def change(document: dict[str, Any]) -> None:
        document["plugins"]["llmgate_accounts"] |= settings

    assert problem in await problems(open_config, change)
