"""What the operations stand on: one store and one set of settings for all of them, and nobody exchanges a part."""

from dataclasses import FrozenInstanceError

import pytest

from llmgate.plugin.api import convert_table
from llmgate_private_ai.plugin import NAME, make_parts
from llmgate_private_ai.settings import Settings
from plugins.private_ai.gate import Running


async def test_the_parts_see_what_the_api_did(running: Running) -> None:
    services = running.gate.services
    settings = convert_table(Settings, services.config.plugins[NAME].settings, NAME)
    woken: list[bool] = []
    parts = make_parts(settings, services, lambda: woken.append(True))
    team = await running.team("Bees")
    ann = await running.user("ann@example.com", team_id=team, role="admin")
    key = await running.token("ann@example.com")
    assert (await parts.teams.by_id(team)).name == "Bees"
    assert (await parts.people.by_id(ann["id"])).team_id == team
    assert (await parts.keys.by_id(key["id"])).token == key["litellm_token"]
    assert (await parts.regions.by_id(key["region_id"])).name == key["region"]
    parts.wake()
    assert woken == [True]


async def test_nobody_exchanges_a_part(running: Running) -> None:
    services = running.gate.services
    settings = convert_table(Settings, services.config.plugins[NAME].settings, NAME)
    parts = make_parts(settings, services, lambda: None)
    with pytest.raises(FrozenInstanceError):
        parts.gate = services  # type: ignore[misc]
