"""The route that completions go to, and who may ask for them."""

from typing import Any

import pytest

from plugins.accounts import problems
from plugins.conftest import OpenGate


def second_route(document: dict[str, Any]) -> None:
    document["routes"].append({"path": "/other/v1", "upstream": "vllm", "upstream_path": "/v1"})


async def test_with_several_routes_one_is_named(open_config: OpenGate) -> None:
    """The plugin does not guess where completions should go."""
    problem = await problems(open_config, second_route)
    assert "plugins.llmgate_accounts.route: name the [[routes]]" in problem
    assert "known: /v1, /other/v1" in problem

    def named(document: dict[str, Any]) -> None:
        second_route(document)
        document["plugins"]["llmgate_accounts"]["route"] = "/other/v1"

    async with open_config("accounts.toml", named) as running:
        assert running.gate.services.config.plugins


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"allow": ["POST /chat/completions"]}, 'the route "/v1" does not let POST /completions through'),
        ({"middleware": ["ratelimit", "accounting"]}, "token limits need quota"),
        ({"middleware": []}, "token limits need quota and accounting"),
    ],
)
async def test_a_route_that_cannot_hold_users_to_their_limit_is_refused(
    open_config: OpenGate, settings: dict[str, Any], problem: str
) -> None:
    """Rather than that the limit is not kept, or that the plugin opens what the route keeps closed."""

    def change(document: dict[str, Any]) -> None:
        document["routes"][0] |= settings

    assert problem in await problems(open_config, change)


async def test_the_route_says_who_may_complete(open_config: OpenGate) -> None:
    """Its roles hold on the guide's path too."""

    def change(document: dict[str, Any]) -> None:
        document["routes"][0]["roles"] = ["staff"]

    async with open_config("accounts.toml", change) as running:
        user = {"username": "jane", "password": "secure_password123"}
        await running.http.post("/auth/register", json=user)
        token = (await running.http.post("/auth/token", data=user)).json()["access_token"]
        answer = await running.http.post(
            "/chat/completions", json={"prompt": "Hi"}, headers={"Authorization": f"Bearer {token}"}
        )
        assert (answer.status_code, answer.json()) == (403, {"detail": "This needs the role staff."})


async def test_a_prefix_stands_before_every_path(open_config: OpenGate) -> None:
    """`prefix` is the gate's own key of every plugin."""

    def change(document: dict[str, Any]) -> None:
        document["plugins"]["llmgate_accounts"]["prefix"] = "/accounts"

    async with open_config("accounts.toml", change) as running:
        user = {"username": "jane", "password": "secure_password123"}
        assert (await running.http.post("/accounts/auth/register", json=user)).status_code == 200
        assert (await running.http.post("/auth/register", json=user)).status_code == 404
