"""The pages as routes: who gets them, with which headers, and that each has what it loads."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from llmgate_private_ai.dashboard import routes
from llmgate_private_ai.dashboard.routes import PAGES, DashboardSettings, Page, dashboard_routes

STATIC = Path(routes.__file__).parent / "static"


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(routes=dashboard_routes(DashboardSettings(passwordless=True)))
    cookies = {"access_token": "anything"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://dashboard", cookies=cookies
    ) as client:
        yield client


def path_of(page: Page) -> str:
    return page.path.replace("{id:int}", "7")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.module)
async def test_a_page_is_one_template_with_its_script(client: httpx.AsyncClient, page: Page) -> None:
    """And nothing in it that its policy forbids: no script or style but by address, all of this origin."""
    answer = await client.get(path_of(page))
    assert answer.status_code == 200
    assert f"<h1>{page.title}</h1>" in answer.text and f'data-page="{page.module}"' in answer.text
    assert (STATIC / "pages" / f"{page.module}.js").is_file()
    assert answer.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; ")
    assert (answer.headers["cache-control"], answer.headers["x-frame-options"]) == ("no-store", "DENY")
    assert not re.search(
        r"style=|<style|<script(?! type=\"module\" src=\"/static/)|\son[a-z]+=\"", answer.text
    )
    for address in re.findall(r'(?:src|href)="(/static/[^"]+)"', answer.text):
        assert (await client.get(address)).headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.module)
async def test_who_has_no_session_is_led_to_the_login(client: httpx.AsyncClient, page: Page) -> None:
    client.cookies.clear()
    answer = await client.get(path_of(page))
    if page.public:
        assert answer.status_code == 200
    else:
        next_page = "" if page.path == "/" else "?next=" + path_of(page).replace("/", "%2F")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/auth/login{next_page}")


def test_every_script_is_used_and_every_import_is_there() -> None:
    """No build step finds a name that is not exported."""
    scripts = {path.relative_to(STATIC).as_posix(): path.read_text() for path in STATIC.rglob("*.js")}
    exported = {
        name: set(re.findall(r"^export (?:default )?(?:async )?(?:function|const|class) (\w+)", text, re.M))
        for name, text in scripts.items()
    }
    assert {name for name in scripts if name.startswith("pages/")} == {f"pages/{p.module}.js" for p in PAGES}
    for name, text in scripts.items():
        for names, target in re.findall(r'^import \{ ([^}]+) \} from "([^"]+)"', text, re.M):
            found = (STATIC / name).parent.joinpath(target).resolve().relative_to(STATIC).as_posix()
            wanted = set(names.split(", "))
            assert wanted <= exported[found], (name, wanted - exported[found])
            unused = [each for each in wanted if len(re.findall(rf"\b{each}\b", text)) < 2]
            assert unused == [], f"{name} imports what it does not use"


def test_the_policy_opens_to_stripe_where_plans_are_shown_and_to_nobody_else() -> None:
    assert "stripe" not in routes.security_headers(stripe=False)["Content-Security-Policy"]
    policy = routes.security_headers(stripe=True)["Content-Security-Policy"]
    assert (
        "script-src 'self' https://js.stripe.com;" in policy and "frame-src https://js.stripe.com;" in policy
    )


async def test_what_the_pages_have_to_know(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/config")).json() == {
        "NEXT_PUBLIC_API_URL": "",
        "PASSWORDLESS_SIGN_IN": True,
        "STRIPE_PUBLISHABLE_KEY": "",
    }
