"""All that a surface may bring, in one plugin behind a whole gate: what the kit and the api promise together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import copy

import httpx
import msgspec
import pytest
from gates import Running, running
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from stores import migrated_file

from llmgate.plugin.api import (
    FORM,
    JSON,
    SESSION_COOKIE,
    AnyCall,
    AnyOperation,
    Call,
    Cookie,
    Cors,
    Organization,
    Principal,
    Reply,
    Services,
    Surface,
    Unauthenticated,
)
from llmgate.plugin.kit.access import TeamRole
from llmgate.plugin.kit.accounts import Accounts, Credentials
from llmgate.plugin.kit.operations import OperationTable
from llmgate.plugin.kit.periodic import periodic

__all__ = ["migrated_file"]

FRIEND = "https://app.example.com"
COOKIE = Cookie(SESSION_COOKIE, "")


class Message(msgspec.Struct, frozen=True):
    """What is said."""

    text: str


class Badges:
    """Knows who shows a badge."""

    def cached(self, _: str) -> Principal | None:
        return None

    async def verify(self, secret: str) -> Principal | None:
        if not secret.startswith("badge-"):
            return None
        if secret != "badge-7":
            raise Unauthenticated("This badge is none.")
        return Principal(7, "badge seven", frozenset())


class Toy:
    """A plugin that brings one of each."""

    settings = msgspec.defstruct("Settings", [])

    def __init__(self, folder: Path) -> None:
        self.rounds: asyncio.Queue[int] = asyncio.Queue()
        (folder / "static").mkdir()
        (folder / "static" / "style.css").write_text("body {}")
        (folder / "page.html").write_text("<h1>{{ name }}</h1>")
        self._folder = folder

    @asynccontextmanager
    async def open(self, _: object, gate: Services) -> AsyncIterator[Surface]:
        templates = Jinja2Templates(self._folder)

        async def page(request: Request) -> Response:
            return templates.TemplateResponse(request, "page.html", {"name": "<you>"})

        async def inner(_: Request) -> PlainTextResponse:
            return PlainTextResponse("an application of its own")

        async def count() -> None:
            self.rounds.put_nowait(1)

        async with periodic("toy", count, store=gate.store, alone=True):
            yield Surface(
                "toy",
                operations=self._operations(gate),
                routes=[
                    Route("/page", page),
                    Mount("/static", StaticFiles(directory=self._folder / "static")),
                    Mount("/inner", Starlette(routes=[Route("/", inner)])),
                ],
                cors=Cors([FRIEND]),
                verifiers=[Badges()],
            )

    def _operations(self, gate: Services) -> list[AnyOperation]:
        accounts = Accounts(gate.identity)
        said = gate.metrics.counter("toy_said", "What was said, by how.", how=("form", "json"))

        async def register(call: Call[Credentials]) -> Reply:
            user = await accounts.register(call)
            session = await gate.identity.sessions.issue(user)
            return Reply(None, 204, cookies=[Cookie(SESSION_COOKIE, session.token)])

        async def log_out(_: AnyCall) -> Reply:
            return Reply(None, 204, cookies=[COOKIE.cleared])

        async def say(call: Call[Message]) -> Message:
            said.labels("form" if FORM in (call.header("content-type") or "") else "json").inc()
            return Message(f"{call.principal.username}: {call.body.text}")

        async def team(call: Call[None, None, Organization]) -> str:
            return call.access.name

        at = OperationTable(credentials=("cookie", "bearer"), scope=None)
        return [
            at("POST /register", register, "Register.", None, body=Credentials, credentials=()),
            at("POST /logout", log_out, "Log out.", None, credentials=()),
            at("POST /say", say, "Say something.", Message, body=Message, media_types=(JSON, FORM)),
            at("GET /teams/{id}", team, "A team's name.", str, access=TeamRole(gate.identity, "lead")),
        ]


@pytest.fixture
async def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    plugin = Toy(tmp_path)
    monkeypatch.setattr("llmgate.gate.build.load_plugin", lambda _: plugin)
    monkeypatch.setattr("llmgate.gate.build.migrations_of", lambda _: [None])
    return plugin


@pytest.fixture
async def gate(tmp_path: Path, migrated_file: Path, toy: Toy) -> AsyncIterator[Running]:
    store = Path(copy(migrated_file, tmp_path / "gate.db"))
    async with running(tmp_path, store, plugins={"toy": {"prefix": "/toy"}}) as opened:
        yield opened


@pytest.fixture
async def http(gate: Running) -> AsyncIterator[httpx.AsyncClient]:
    async with AsyncExitStack() as stack:
        client = httpx.AsyncClient(base_url=f"{gate.url}/toy", trust_env=False)
        yield await stack.enter_async_context(client)


async def test_pages_files_and_applications_are_served(http: httpx.AsyncClient) -> None:
    """A template escapes, files have their types, and what an application does not have is not there."""
    assert (await http.get("/page")).text == "<h1>&lt;you&gt;</h1>"
    style = await http.get("/static/style.css")
    assert (style.text, style.headers["content-type"]) == ("body {}", "text/css; charset=utf-8")
    assert (await http.get("/static/nothing")).json()["error"]["code"] == "not_found"
    assert (await http.get("/inner/")).text == "an application of its own"


async def test_who_is_in_by_cookie_is_out_by_cookie(http: httpx.AsyncClient) -> None:
    """And a page of another origin writes nothing with it."""
    body = {"username": "bob", "password": "secret-password"}
    assert (await http.post("/register", json=body)).status_code == 204
    said = await http.post("/say", json={"text": "hi"})
    assert said.json() == {"text": "bob: hi"}
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        refused = await http.post("/say", json={"text": "hi"}, headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "cross_origin")
    assert (await http.post("/logout")).status_code == 204
    assert (await http.post("/say", json={"text": "hi"})).status_code == 401


async def test_a_friends_page_may_call(http: httpx.AsyncClient, gate: Running) -> None:
    """And no other one is told that it may."""
    headers = {"authorization": f"Bearer {gate.key}", "origin": FRIEND, "sec-fetch-site": "cross-site"}
    said = await http.post("/say", json={"text": "hi"}, headers=headers)
    assert (said.status_code, said.headers["access-control-allow-origin"]) == (200, FRIEND)
    asked = {"origin": FRIEND, "access-control-request-method": "POST"}
    assert (await http.options("/say", headers=asked)).headers["access-control-allow-origin"] == FRIEND
    other = await http.options("/say", headers={**asked, "origin": "https://evil.example"})
    assert "access-control-allow-origin" not in other.headers


async def test_a_form_and_json_on_one_path_are_counted_apart(http: httpx.AsyncClient, gate: Running) -> None:
    """By a metric of the plugin's own, whose labels are a closed set."""
    http.headers["authorization"] = f"Bearer {gate.key}"
    assert (await http.post("/say", data={"text": "form"})).json() == {"text": "ann: form"}
    assert (await http.post("/say", json={"text": "json"})).json() == {"text": "ann: json"}
    assert (await http.post("/say", content="x", headers={"content-type": "text/plain"})).status_code == 415
    samples = {
        tuple(sample.labels.values()): sample.value
        for metric in gate.runtime.instruments.registry.collect()
        for sample in metric.samples
        if "toy_said" in sample.name
    }
    assert samples == {("form",): 1.0, ("json",): 1.0}


async def test_a_surface_knows_credentials_of_its_own(http: httpx.AsyncClient) -> None:
    """Wherever credentials are taken; a bad one is refused."""
    said = await http.post("/say", json={"text": "hi"}, headers={"authorization": "Bearer badge-7"})
    assert said.json() == {"text": "badge seven: hi"}
    bad = await http.post("/say", json={"text": "hi"}, headers={"authorization": "Bearer badge-8"})
    assert bad.status_code == 401


async def test_a_role_of_a_team_opens_what_is_the_teams(http: httpx.AsyncClient, gate: Running) -> None:
    """Members without it are refused, and to others there is no such team."""
    identity = gate.gate.services.identity
    user = await identity.users.by_username("ann")
    http.headers["authorization"] = f"Bearer {gate.key}"
    team = await identity.organizations.create("acme")
    assert (await http.get(f"/teams/{team.id}")).status_code == 404
    await identity.organizations.add_member(team.id, user.id)
    assert (await http.get(f"/teams/{team.id}")).status_code == 403
    await identity.organizations.remove_member(team.id, user.id)
    await identity.organizations.add_member(team.id, user.id, role="lead")
    assert (await http.get(f"/teams/{team.id}")).json() == "acme"


async def test_work_of_a_surface_goes_on_beside_its_requests(gate: Running, toy: Toy) -> None:
    """From when the gate opens, in one process of those that share its store."""
    async with asyncio.timeout(10):
        assert await toy.rounds.get() == 1
