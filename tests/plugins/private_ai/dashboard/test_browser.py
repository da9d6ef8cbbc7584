"""The dashboard through a real browser: a newcomer's whole way, once by mouse and once by keyboard, and every page.

`make test-browser` runs these; CI runs them too. See the decision record 0100.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from mail_server import text_of
from pgvector_server import PASSWORD, PostgresServer

from llmgate_private_ai.dashboard.routes import PAGES
from plugins.private_ai.conftest import OpenGate
from plugins.private_ai.gate import ADMIN, ADMIN_PASSWORD, PASSWORD_OF_ALL, Running

from .conftest import WITHIN, Visitor, Watch

ANN, BOB = "ann@bees.example", "bob@bees.example"
NARROW, WIDE = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
TOO_WIDE = """Math.max(...[document.scrollingElement, ...document.querySelectorAll(".table")]
    .map((each) => each.scrollWidth - each.clientWidth))"""
NAMED = ("gpt-4", "smollm2")


class Dashboard:
    """A gate, and a browser for each of its visitors."""

    def __init__(self, running: Running, chromium: Any) -> None:
        self.running = running
        self.watch = Watch()
        self._chromium = chromium

    async def visitor(self, **screen: Any) -> Visitor:
        context = await self._chromium.new_context(locale="en-US", **screen)
        context.set_default_timeout(WITHIN)
        page = await context.new_page()
        self.watch.follow(page)
        return Visitor(page, str(self.running.dashboard.base_url).rstrip("/"), self.watch)

    def here(self, url: str) -> str:
        """An address of the guide where this gate has it."""
        for port, mine in self.running.urls.items():
            url = url.replace(f"http://localhost:{port}", mine)
        return url


@pytest.fixture
async def dashboard(open_gate: OpenGate, postgres: PostgresServer, chromium: Any) -> AsyncIterator[Dashboard]:
    """In front of a scripted model; nothing may be complained of that the test has not asked for."""
    async with open_gate(postgres=postgres) as running:
        opened = Dashboard(running, chromium)
        yield opened
        assert opened.watch.complaints == []


def _real_model(url: str) -> Any:
    def change(document: dict[str, Any]) -> None:
        upstream = {"urls": [url], "models": dict([NAMED]), "context_length": 1000}
        document["upstreams"]["models"] |= upstream

    return change


async def test_a_newcomers_whole_way(
    open_gate: OpenGate, postgres: PostgresServer, llama: str, chromium: Any
) -> None:
    """From the first administrator's first login to a chat and a vector query, and back to deletion."""
    async with open_gate(postgres=postgres, change=_real_model(llama)) as running:
        dashboard = Dashboard(running, chromium)
        await _administrator(await dashboard.visitor(), postgres)
        ann = await dashboard.visitor()
        await ann.sign_in(ANN, PASSWORD_OF_ALL)
        await _keys_of_three_types(ann)
        await _chat(ann, dashboard)
        await _vector_query(ann)
        await _api_token(ann, dashboard)
        await _team(ann, dashboard)
        await _deletion(ann, postgres)
        assert dashboard.watch.complaints == []


async def _administrator(admin: Visitor, postgres: PostgresServer) -> None:
    """Sign in as the guide says, change the password, make a region, a team and its first user."""
    await admin.visit("/")
    await admin.page.wait_for_url("**/auth/login")
    await admin.sign_in(ADMIN, ADMIN_PASSWORD)
    await admin.follow("Change its password")
    card = admin.page.locator("section", has=admin.page.get_by_role("heading", name="Password", exact=True))
    await card.get_by_label("Current password").fill(ADMIN_PASSWORD)
    await card.get_by_label("New password").fill("much longer than before")
    await admin.click("Change Password")
    await admin.page.get_by_text("The password is changed.").wait_for()
    await admin.page.get_by_role("main").get_by_role("button", name="Log out").click()
    await admin.page.wait_for_url("**/auth/login")
    await admin.sign_in(ADMIN, "much longer than before")

    await admin.follow("Regions")
    await admin.click("Create Region")
    await admin.fill(
        Name="north",
        Label="The North",
        PostgreSQL_host=postgres.host,
        PostgreSQL_port=str(postgres.port),
        PostgreSQL_admin_user="postgres",
        PostgreSQL_admin_password=PASSWORD,
        Backend_URL="route:models",
        Backend_key="unused",
    )
    await admin.click("Create Region", within=admin.page.locator("dialog"))
    await admin.page.get_by_role("cell", name="The North").wait_for()

    await admin.follow("Teams")
    await admin.click("Create Team")
    await admin.fill(Team_Name="Bees", Admin_Email=ANN, Phone="+49 30 1234", Billing_Address="Hive 1\nMeadow")
    await admin.click("Create Team", within=admin.page.locator("dialog"))
    await admin.click("Details")
    await admin.click("Add User")
    await admin.fill(Email=ANN, Password=PASSWORD_OF_ALL)
    await admin.page.get_by_label("Role").select_option(label="Team Admin")
    await admin.click("Add User", within=admin.page.locator("dialog"))
    await admin.page.get_by_role("table", name="Members").get_by_role("cell", name=ANN).wait_for()
    assert "Hive 1" in await admin.fact("Billing Address")
    await admin.page.context.close()


async def _keys_of_three_types(ann: Visitor) -> None:
    for kind in ("Vector DB Only", "LLM Token Only", "Full Key"):
        await ann.follow("Private AI Keys")
        await ann.click("Create Key")
        await ann.page.get_by_label("Region").select_option(label="The North")
        await ann.page.get_by_label("Key Name").fill(f"My {kind}")
        await ann.page.get_by_label(kind).check()
        await ann.click("Create Key", within=ann.page.locator("dialog"))
        await ann.page.get_by_role("heading", level=1, name=f"My {kind}").wait_for()
        await ann.loaded()
        facts = set(await ann.page.locator("dt").all_inner_texts())
        assert ("LLM token" in facts, "Database name" in facts) == ("DB" not in kind, "Token" not in kind)
    assert await ann.fact("Region") == "The North"


async def _chat(ann: Visitor, dashboard: Dashboard) -> None:
    """The guide's request with what the page of the key shows, and what the page says of it afterwards."""
    assert await ann.fact("Requests") == "0"
    token, url = await ann.shown("LLM token"), dashboard.here(await ann.fact("API URL"))
    body = {
        "model": "gpt-4",
        "messages": [{"role": "user", "content": "Hello, how are you?"}],
        "max_tokens": 8,
    }
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        answer = await http.post(
            f"{url}/chat/completions", json=body, headers={"authorization": f"Bearer {token}"}
        )
    assert answer.status_code == 200, answer.text
    used = answer.json()["usage"]["total_tokens"]
    await ann.page.reload()
    await ann.loaded()
    assert (await ann.fact("Requests"), await ann.fact("Tokens")) == ("1", str(used))
    assert await ann.fact("Budget") == "$27.00"
    assert token not in await ann.page.content(), "a secret is in the page before it is asked for"


async def _vector_query(ann: Visitor) -> None:
    import psycopg2

    place = {
        "host": await ann.fact("Database host"),
        "port": await ann.fact("Database port"),
        "dbname": await ann.fact("Database name"),
        "user": await ann.fact("Username"),
        "password": await ann.shown("database password"),
    }

    def query() -> Any:
        conn = psycopg2.connect(**place)
        try:
            with conn, conn.cursor() as cursor:
                cursor.execute("CREATE TABLE documents (content text, embedding vector(3))")
                cursor.execute("INSERT INTO documents VALUES ('far', '[9,9,9]'), ('near', '[1,2,3]')")
                cursor.execute("SELECT content FROM documents ORDER BY embedding <-> '[1,2,4]' LIMIT 1")
                return cursor.fetchone()
        finally:
            conn.close()

    assert await asyncio.to_thread(query) == ("near",)


async def _api_token(ann: Visitor, dashboard: Dashboard) -> None:
    await ann.follow("API Tokens")
    await ann.click("Create Token")
    await ann.fill(Token_Name="nightly")
    await ann.click("Create Token", within=ann.page.locator("dialog"))
    await ann.page.get_by_role("heading", name="Your new token").wait_for()
    token = await ann.shown("API token")
    await ann.click("Done")
    await ann.page.get_by_role("cell", name="nightly").wait_for()
    await ann.page.get_by_text(token).wait_for(state="detached")
    assert token not in await ann.page.content()
    answer = await dashboard.running.http.get(
        "/private-ai-keys", headers={"authorization": f"Bearer {token}"}
    )
    assert len(answer.json()) == 3


async def _team(ann: Visitor, dashboard: Dashboard) -> None:
    """Invite a member, who gets a mail; look at the plan; without Stripe the page says so."""
    await ann.follow("Users")
    await ann.click("Add User")
    await ann.fill(Email=BOB)
    await ann.page.get_by_label("Role").select_option(label="Key Creator")
    await ann.click("Add User", within=ann.page.locator("dialog"))
    await ann.page.get_by_role("row", name=BOB).get_by_text("Key Creator").wait_for()
    (mail,) = dashboard.running.mailbox.to(BOB)
    assert "Bees" in text_of(mail)

    await ann.follow("Pricing")
    assert await ann.fact("Users") == "2"
    ann.watch.expected = {400, 500}
    await ann.click("Manage Subscription")
    await ann.page.get_by_role("alert").filter(has_text="Stripe").wait_for()
    ann.watch.expected = set()


async def _deletion(ann: Visitor, postgres: PostgresServer) -> None:
    for kind in ("Full Key", "LLM Token Only", "Vector DB Only"):
        await ann.follow("Private AI Keys")
        await ann.follow(f"My {kind}")
        database = None if kind == "LLM Token Only" else await ann.fact("Database name")
        await ann.click("Delete")
        await ann.click("Cancel")
        await ann.click("Delete")
        await ann.click("Delete", within=ann.page.locator("dialog"))
        await ann.page.wait_for_url("**/private-ai-keys")
        await ann.loaded()
        if database is not None:
            assert (database,) not in postgres.run("SELECT datname FROM pg_database")
    await ann.page.get_by_text("There are no keys yet.").wait_for()


async def test_by_keyboard_alone_on_a_narrow_screen(dashboard: Dashboard) -> None:
    """Sign in by a mailed code, make a key, see its token, delete it, log out: no pointer touches the page."""
    cat = await dashboard.visitor(viewport=NARROW)
    press, typed, wait = cat.page.keyboard.press, cat.page.keyboard.type, cat.page.wait_for_url

    await cat.visit("/auth/login")
    await cat.go("Sign in with a code by email instead")
    await cat.tab_to("Email")
    await typed("cat@example.com")
    await press("Enter")
    await cat.page.get_by_label("Verification code").wait_for()
    await typed(dashboard.running.code("cat@example.com").lower())
    await press("Enter")
    await wait(cat.base + "/")
    await cat.loaded()
    assert await cat.fact("Your role") == "Team Admin", "the first one makes a team"

    await cat.go("Menu")
    await cat.go("Private AI Keys")
    await wait("**/private-ai-keys")
    await cat.loaded()
    await cat.go("Create Key")
    await cat.page.locator("dialog").wait_for()
    await cat.tab_to("Key Name")
    await typed("By hand")
    await press("Tab")
    await press("ArrowDown")  # from a full key to a token alone
    await press("Enter")
    await wait("**/private-ai-keys/*")
    await cat.page.get_by_role("heading", name="By hand").wait_for()
    await cat.loaded()
    await cat.page.get_by_role("button", name="Show LLM token").focus()
    await press("Enter")
    shown = await cat.page.locator(".secret span").first.inner_text()
    assert (await dashboard.running.chat(shown)).status_code == 200

    await cat.page.locator("#main").focus()
    await cat.go("Delete")
    await cat.page.locator("dialog").wait_for()
    await press("Escape")
    await cat.go("Delete")
    await cat.page.locator("dialog").wait_for()
    await cat.go("Delete")
    await wait("**/private-ai-keys")
    await cat.loaded()
    await cat.go("Menu")
    await cat.go("Log out")
    await wait("**/auth/login")


async def test_every_page_fits_its_screen_and_passes_axe(dashboard: Dashboard) -> None:
    """Nothing scrolls sideways, narrow or wide, light or dark, and axe finds nothing (WCAG 2.1 A and AA)."""
    axe = pytest.importorskip("axe_playwright_python.async_playwright").Axe()
    running = dashboard.running
    team = await running.team("Bees")
    await running.user(ANN, team_id=team, role="admin")
    key = await running.ask(ANN, "POST", "/private-ai-keys", {"name": "Web site", "region_id": 1})
    await running.chat(key["litellm_token"])
    await running.ask(ADMIN, "POST", "/products", {"id": "prod_1", "name": "Starter"}, status=201)
    await running.ask(ANN, "POST", "/auth/token", {"name": "ci"})
    found: list[str] = []
    for who, password, scheme in (
        (None, "", "light"),
        (ADMIN, ADMIN_PASSWORD, "light"),
        (ANN, PASSWORD_OF_ALL, "dark"),
    ):
        visitor = await dashboard.visitor(viewport=NARROW, color_scheme=scheme)
        if who is not None:
            await visitor.sign_in(who, password)
        for page in PAGES:
            mine = page.public if who is None else not page.public
            if not mine or page.module == "upgrade" or (who == ADMIN and page.path.startswith("/team-admin")):
                continue
            if who == ANN and page.path.startswith("/admin"):
                continue
            await visitor.visit(page.path.replace("{id:int}", str(key["id"])))
            for screen in (WIDE, NARROW):
                await visitor.page.set_viewport_size(screen)
                wide = await visitor.page.evaluate(TOO_WIDE)
                found += [f"{page.path} is {wide} pixels too wide on {screen}"] if wide > 0 else []
            options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"], "resultTypes": ["violations"]}
            checked = await axe.run(visitor.page, options=options)
            found += [
                f"{page.path} ({scheme}): {rule['help']}: {node['html'][:120]} {node['any'][:1]}"
                for rule in checked.response["violations"]
                for node in rule["nodes"]
            ]
        await visitor.page.context.close()
    assert found == []


async def test_a_session_that_has_ended_leads_to_the_login_and_back(dashboard: Dashboard) -> None:
    running = dashboard.running
    await running.user(ANN)
    visitor = await dashboard.visitor()
    await visitor.sign_in(ANN, PASSWORD_OF_ALL)
    await visitor.follow("API Tokens")
    running.clock.pass_by(1801)
    dashboard.watch.expected = {401}
    await visitor.click("Create Token")
    await visitor.fill(Token_Name="late")
    await visitor.click("Create Token", within=visitor.page.locator("dialog"))
    await visitor.page.wait_for_url("**/auth/login?next=%2Fauth%2Ftoken")
    await visitor.loaded()
    await visitor.fill(Email=ANN, Password=PASSWORD_OF_ALL)
    await visitor.click("Sign in")
    await visitor.page.wait_for_url("**/auth/token")
