"""The table of operations: what needs a key, what is told to everybody, and what is not there."""

from .gate import API, CODING, PLUGIN, Document, OpenPlatform, PlatformGate, finish


async def test_lists_can_ask_for_a_key(open_platform: OpenPlatform) -> None:
    def change(document: Document) -> None:
        document["plugins"][PLUGIN]["public_lists"] = False

    async with open_platform(change) as gate:
        ada = await gate.register()
        for path in ("/models", "/models/1", "/datasets", "/training", "/evaluations", "/statistics"):
            assert (await gate.http.get(f"/api{path}")).json() == {"error": "API key required"}
            assert (await ada.get(path)).status_code == 200
        assert (await gate.get("/health"))["status"] == "healthy"


async def test_public_answers_tell_nothing_of_people_and_places(platform: PlatformGate) -> None:
    ada = await platform.register()
    await ada.post("/training/coding", CODING)
    await finish(platform)
    for path in (
        "/models",
        "/models/1",
        "/datasets",
        "/training",
        "/training/1",
        "/evaluations",
        "/statistics",
    ):
        text = (await platform.http.get(f"/api{path}")).text
        for private in (
            '"ada"',
            "example.com",
            str(platform.artifacts.parent),
            "owner",
            "llm_",
            "/no/such/model",
        ):
            assert private not in text, (path, private)


async def test_unknown_paths_and_methods(platform: PlatformGate) -> None:
    lost = await platform.http.get(f"{API}/nothing")
    assert (lost.status_code, lost.json()) == (404, {"error": "Resource not found"})
    wrong = await platform.http.put(f"{API}/health")
    assert (wrong.status_code, wrong.json()) == (405, {"error": "Method not allowed"})
    assert wrong.headers["allow"]
    elsewhere = await platform.http.get("/v1/nothing")
    assert elsewhere.json()["error"]["code"] == "not_found"  # as OpenAI's API says it
