"""API tokens: they open this API and no model."""

from plugins.private_ai.gate import ADMIN, Running

ANN = "ann@example.com"


async def test_api_tokens(running: Running) -> None:
    made = await running.ask(ADMIN, "POST", "/auth/token", {"name": "ci"})
    assert set(made) == {"id", "name", "token", "user_id", "created_at", "last_used_at"}
    running.bearers["token"] = made["token"]
    assert (await running.ask("token", "GET", "/auth/me"))["email"] == ADMIN
    (listed,) = await running.ask("token", "GET", "/auth/token")
    assert listed == {name: value for name, value in made.items() if name != "token"}
    await running.user(ANN)
    await running.ask(ANN, "POST", "/auth/token", {"name": "x", "user_id": made["user_id"]}, status=403)
    await running.ask(ADMIN, "POST", "/auth/token", {"name": "x", "user_id": 99_999}, status=404)
    gone = await running.ask(ANN, "DELETE", f"/auth/token/{made['id']}", status=404)
    assert gone == {"detail": "Token not found"}
    assert (await running.chat(made["token"])).status_code == 401  # it opens no model
    await running.ask(ADMIN, "DELETE", f"/auth/token/{made['id']}")
    await running.ask("token", "GET", "/auth/me", status=401)
