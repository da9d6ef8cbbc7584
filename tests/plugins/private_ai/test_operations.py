"""The table of operations: which there are, for whom, and how they answer."""

from typing import Any

from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import Running

ANN = "ann@example.com"


async def test_without_codes_their_paths_are_not_there(open_gate: OpenGate) -> None:
    def change(document: dict) -> None:  # type: ignore[type-arg]
        document["plugins"]["llmgate_private_ai"]["passwordless"] = False

    async with open_gate(change=change) as running:
        await running.ask(None, "POST", "/auth/validate-email", {"email": ANN}, status=404)
        await running.ask(None, "POST", "/auth/sign-in", {}, status=404)


async def test_every_answer_says_that_nobody_keeps_it(running: Running) -> None:
    for answer in (await running.http.get("/health"), await running.http.get("/users")):
        assert answer.headers["cache-control"] == "no-store, no-cache, must-revalidate, private"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "strict-origin-when-cross-origin"


async def test_what_wants_a_credential_is_refused_without_one(running: Running) -> None:
    """Before anything else of the request is looked at."""
    paths: dict[str, Any] = (await running.http.get("/openapi.json")).json()["paths"]
    wanting = [
        (method, path.replace("{id}", "1").replace("{team_id}", "1"))
        for path, methods in paths.items()
        for method in methods
        if path.startswith(("/teams", "/users", "/regions", "/private-ai-keys", "/products", "/audit"))
    ]
    assert len(wanting) > 40
    for method, path in wanting:
        await running.ask(None, method.upper(), path, {}, status=401)


async def test_the_root_leads_to_the_documentation_and_health_is_for_everybody(running: Running) -> None:
    root = await running.http.get("/", follow_redirects=False)
    assert (root.status_code, root.headers["location"]) == (307, "/docs")
    assert await running.ask(None, "GET", "/health") == {"status": "healthy"}
