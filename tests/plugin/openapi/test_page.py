"""The page and the document as a gate serves them."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from plugins.accounts import at
from plugins.conftest import OpenGate, clock, migrated_file, open_config

from llmgate.errors import ConfigError
from llmgate.gate.router import claims_of

__all__ = ["clock", "migrated_file", "open_config"]


class Links(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if name in ("src", "href") and value]


async def test_all_that_the_page_loads_is_served_here(open_config: OpenGate) -> None:
    """With its content type, and an ETag by which it is not loaded again; the document is what it shows."""
    async with open_config("accounts.toml", at("http://127.0.0.1:1")) as running:
        page = await running.http.get("/docs")
        assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
        links = Links()
        links.feed(page.text)
        types = {}
        for link in links.found:
            loaded = await running.http.get(urljoin("/docs", link))
            assert loaded.status_code == 200, link
            types[Path(link).name] = loaded.headers["content-type"]
            same = {"If-None-Match": loaded.headers["etag"]}
            again = await running.http.get(urljoin("/docs", link), headers=same)
            assert (again.status_code, again.content) == (304, b"")
        start = await running.http.get("/docs/start.js")
        named = re.search(r'url: "(.*)"', start.text)
        assert named is not None
        document = await running.http.get(urljoin("/docs", named[1]))
    assert types == {
        "swagger-ui.css": "text/css; charset=utf-8",
        "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
        "start.js": "text/javascript; charset=utf-8",
        "favicon-32x32.png": "image/png",
    }
    assert document.json()["openapi"] == "3.1.0"
    assert document.json()["info"]["title"] == "LLM User Management API"


async def test_the_page_may_ask_nobody_else(open_config: OpenGate) -> None:
    """By its Content-Security-Policy: nothing from elsewhere, nothing inline, in no frame."""
    async with open_config("accounts.toml", at("http://127.0.0.1:1")) as running:
        policy = (await running.http.get("/docs")).headers["content-security-policy"]
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert (rules["script-src"], rules["connect-src"], rules["frame-ancestors"]) == (
        "'self'",
        "'self'",
        "'none'",
    )
    assert "unsafe" not in policy


async def test_head_has_no_body(open_config: OpenGate) -> None:
    """But says how long it would be."""
    async with open_config("accounts.toml", at("http://127.0.0.1:1")) as running:
        head = await running.http.head("/openapi.json")
        whole = await running.http.get("/openapi.json")
    assert (head.content, head.headers["content-length"]) == (b"", str(len(whole.content)))


@pytest.mark.parametrize(("keep", "docs"), [(True, False), (False, True)])
async def test_without_plugins_or_if_turned_off_there_is_none(
    open_config: OpenGate, keep: bool, docs: bool
) -> None:
    """Then both paths are as any other."""

    def change(document: dict[str, Any]) -> None:
        document["gate"]["docs"] = docs
        if not keep:
            del document["plugins"], document["limits"]

    async with open_config("accounts.toml", change) as running:
        for path in ("/docs", "/openapi.json"):
            assert (await running.http.get(path)).status_code == 404


async def test_each_address_documents_what_it_has(open_config: OpenGate) -> None:
    """A page can only try what is on its own address."""

    def change(document: dict[str, Any]) -> None:
        document["plugins"]["llmgate_accounts"]["listen"] = "127.0.0.1:8009"

    async with open_config("accounts.toml", change) as running:
        assert (await running.http.get("/docs")).status_code == 404
        apps = {str(address): app for address, app in running.gate.apps.items()}
        claims = [claim for route in apps["127.0.0.1:8009"].routes for claim in claims_of(route)]
        assert "/docs" in {claim.path for claim in claims}


async def test_a_route_that_claims_the_same_path_is_told_how_to_get_it(open_config: OpenGate) -> None:
    """The documentation gives way if it is turned off."""

    def change(document: dict[str, Any]) -> None:
        document["plugins"]["llmgate_accounts"]["route"] = "/v1"
        document["routes"].append(
            {"path": "/docs", "upstream": "vllm", "allow": ["GET /start.js"], "middleware": []}
        )

    with pytest.raises(ConfigError, match="docs = false"):
        async with open_config("accounts.toml", change):
            pass
