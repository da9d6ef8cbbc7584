"""The audit log, and the dashboard's address, where the API is below /api."""

from plugins.private_ai.gate import ADMIN, ADMIN_PASSWORD, Running

ANN = "ann@example.com"


async def test_every_request_is_in_the_log_refused_ones_too(running: Running) -> None:
    team = await running.team("Bees")
    await running.user(ANN)
    await running.ask(ANN, "GET", f"/teams/{team}?token=secret&x=1", status=403)
    await running.ask(None, "GET", "/regions", status=401)
    log = await running.ask(ADMIN, "GET", "/audit/logs?limit=2")
    assert log["total"] > 2
    refused, forbidden = log["items"]
    assert (refused["user_id"], refused["details"]["status_code"]) == (None, 401)
    assert forbidden == {
        "id": forbidden["id"], "timestamp": "2027-01-15T08:00:00+00:00", "user_id": forbidden["user_id"],
        "user_email": ANN, "event_type": "GET", "resource_type": "teams", "resource_id": str(team),
        "action": f"GET /teams/{team}", "ip_address": "127.0.0.1", "request_source": "api",
        "user_agent": forbidden["user_agent"],
        "details": {"path": f"/teams/{team}", "query_params": {"token": "***", "x": "1"}, "status_code": 403},
    }  # fmt: skip
    assert ADMIN_PASSWORD not in str([each["details"] for each in log["items"]])


async def test_what_says_nothing_is_left_out(running: Running) -> None:
    before = (await running.ask(ADMIN, "GET", "/audit/logs"))["total"]
    for path in ("/health", "/auth/me", "/audit/logs", "/audit/logs/metadata", "/"):
        await running.ask(ADMIN, "GET", path, status=None)
    for path in (
        "/auth/login",
        "/static/shell.js",
        "/api/config",
        "/nowhere",
    ):  # of the dashboard, which is no API
        await running.dashboard.get(path)
    assert (await running.ask(ADMIN, "GET", "/audit/logs"))["total"] == before
    assert (await running.dashboard.get("/api/regions")).status_code == 401
    assert (await running.ask(ADMIN, "GET", "/audit/logs"))["total"] == before + 1


async def test_filters_and_pages(running: Running) -> None:
    await running.team("Bees")
    await running.ask(ADMIN, "GET", "/teams/999", status=404)

    async def found(query: str) -> set[str]:
        items = (await running.ask(ADMIN, "GET", f"/audit/logs?{query}"))["items"]
        return {each["action"] for each in items}

    assert await found("event_type=POST&resource_type=teams") == {"POST /teams"}
    assert await found("status_code=404,500") == {"GET /teams/999"}
    assert "GET /teams/999" in await found("user_email=ADMIN")
    assert await found("from_date=2027-01-15T08:00:01Z") == set()
    assert "POST /teams" in await found("to_date=2027-01-15T08:00:00")
    for wrong in ("limit=1001", "skip=-1", "status_code=x", "from_date=yesterday"):
        await running.ask(ADMIN, "GET", f"/audit/logs?{wrong}", status=422)
    told = await running.ask(ADMIN, "GET", "/audit/logs/metadata")
    assert {"GET", "POST"} <= set(told["event_types"]) and {201, 404} <= set(told["status_codes"])
    page = await running.ask(ADMIN, "GET", "/audit?per_page=1&page=2")
    assert (len(page["items"]), page["page"], page["pages"]) == (1, 2, page["total"])
    await running.user(ANN)
    for path in ("/audit/logs", "/audit"):
        refused = await running.ask(ANN, "GET", path, status=403)
        assert refused == {"detail": "Not authorized to access audit logs"}


async def test_the_dashboard_has_the_api_on_its_own_address(running: Running) -> None:
    page = await running.dashboard.get("/auth/login")
    assert page.status_code == 200 and "text/html" in page.headers["content-type"]
    assert "script-src 'self'" in page.headers["content-security-policy"]
    config = await running.dashboard.get("/api/config")
    assert config.json()["PASSWORDLESS_SIGN_IN"] is True
    answer = await running.dashboard.post(
        "/api/auth/login", data={"username": ADMIN, "password": ADMIN_PASSWORD}
    )
    assert answer.status_code == 200
    assert (await running.dashboard.get("/api/auth/me")).json()["email"] == ADMIN
    foreign = {"origin": "https://evil.example"}
    assert (await running.dashboard.post("/api/teams", json={}, headers=foreign)).status_code == 403
    made = await running.dashboard.post("/api/teams", json={"name": "Bees", "admin_email": "b@b.de"})
    assert made.status_code == 201
    log = await running.ask(ADMIN, "GET", "/audit/logs?resource_type=teams")
    assert [each["action"] for each in log["items"]] == ["POST /teams", "POST /teams"]
