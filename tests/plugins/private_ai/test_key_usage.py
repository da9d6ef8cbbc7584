"""What keys have spent and asked, from the ledger."""

import pytest

from plugins.private_ai.gate import COST, Running


async def test_usage_is_told_in_money_and_tokens(running: Running) -> None:
    await running.user("ann@example.com")
    key = await running.token("ann@example.com")
    assert (await running.chat(key["litellm_token"])).status_code == 200
    usage = await running.ask("ann@example.com", "GET", f"/private-ai-keys/{key['id']}/usage")
    assert usage["spend"] == pytest.approx(COST)
    assert usage["remaining"] == pytest.approx(27 - COST)
    assert (usage["requests"], usage["prompt_tokens"], usage["completion_tokens"]) == (1, 10, 1000)
    assert usage["daily"][0]["date"] == "2027-01-15"
    assert (usage["rpm_limit"], usage["budget_duration"], usage["max_budget"]) == (500, "30d", 27.0)
    spend = await running.ask("ann@example.com", "GET", f"/private-ai-keys/{key['id']}/spend")
    assert spend["spend"] == usage["spend"] and spend["budget_reset_at"] == usage["budget_reset_at"]
