"""What a key and its organization may do, at a whole gate: at once, in OpenAI's shape, and for end users."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import pytest
from gates import Running, answers, running
from sqlalchemy import select
from stores import migrated_file

from llmgate.identity import Identity, Key
from llmgate.permissions import Permissions
from llmgate.store.schema import usage

__all__ = ["migrated_file"]

CHAT = {"model": "small", "messages": []}


class Asked:
    """A gate, and a member of an organization with a key for it."""

    def __init__(self, gate: Running, http: httpx.AsyncClient, key: Key, secret: str) -> None:
        self.gate, self.http, self.key, self.secret = gate, http, key, secret

    @property
    def identity(self) -> Identity:
        return self.gate.gate.services.identity

    async def allow(self, **permissions: Any) -> None:
        await self.identity.keys.set_permissions(self.key.id, Permissions(**permissions))

    async def chat(self, *, headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
        return await self.http.post("/v1/chat/completions", json={**CHAT, **fields}, headers=headers)

    async def end_users(self) -> list[str]:
        await self.gate.runtime.store.flush()
        async with self.gate.runtime.store.connect() as db:
            return list(await db.scalars(select(usage.c.end_user).order_by(usage.c.at)))


@asynccontextmanager
async def asked(tmp_path: Path, migrated_file: Path, **tables: Any) -> AsyncIterator[Asked]:
    store = Path(copy(migrated_file, tmp_path / "gate.db"))
    routes = [{"path": "/v1", "upstream": "vllm", "name": "chat", "end_user_header": "x-end-user"}]
    async with running(tmp_path, store, answers, **{"routes": routes, **tables}) as gate:
        identity = gate.gate.services.identity
        user = await identity.users.register("bob", None)
        organization = await identity.organizations.create("Acme")
        await identity.organizations.add_member(organization.id, user.id)
        key, secret = await identity.keys.create(user.id, "his", organization_id=organization.id)
        headers = {"authorization": f"Bearer {secret}"}
        async with httpx.AsyncClient(base_url=gate.url, headers=headers, trust_env=False) as http:
            yield Asked(gate, http, key, secret)


@pytest.fixture
async def bob(tmp_path: Path, migrated_file: Path) -> AsyncIterator[Asked]:
    async with asked(tmp_path, migrated_file) as found:
        yield found


async def test_a_model_that_a_key_may_not_ask_for_is_openais_404_at_once(bob: Asked) -> None:
    assert (await bob.chat()).status_code == 200
    await bob.allow(models=("large*",))
    refused = await bob.chat()
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (404, "model_not_found", "model")
    assert (await bob.chat(model="large-2")).status_code == 200
    assert (await bob.chat(model=None)).status_code == 400
    await bob.allow()
    assert (await bob.chat()).status_code == 200


async def test_what_holds_for_the_organization_holds_for_its_keys(bob: Asked) -> None:
    await bob.allow(models=("small",))
    organizations = bob.identity.organizations
    await organizations.set_permissions(bob.key.organization_id or 0, Permissions(models=("large",)))
    assert (await bob.chat()).status_code == 404
    assert (await bob.chat(model="large")).status_code == 404


async def test_who_is_held_to_models_does_nothing_whose_model_the_gate_does_not_read(
    tmp_path: Path, migrated_file: Path
) -> None:
    routes = [{"path": "/v1", "upstream": "vllm", "allow": ["*"], "middleware": []}]
    async with asked(tmp_path, migrated_file, routes=routes) as bob:
        assert (await bob.http.post("/v1/unknown", json=CHAT)).status_code == 200
        await bob.allow(models=("small",))
        refused = await bob.http.post("/v1/unknown", json=CHAT)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "model_not_allowed")
        assert (await bob.http.get("/v1/models")).status_code == 200


@pytest.mark.parametrize(
    ("permissions", "code"),
    [
        ({"networks": ("10.0.0.0/8",)}, "address_not_allowed"),
        ({"routes": ("other",)}, "route_not_allowed"),
    ],
)
async def test_an_address_or_a_route_that_is_not_allowed_is_403(
    bob: Asked, permissions: dict[str, Any], code: str
) -> None:
    await bob.allow(**permissions)
    refused = await bob.chat()
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, code)
    await bob.allow(networks=("127.0.0.0/8",), routes=("ch*",))
    assert (await bob.chat()).status_code == 200


async def test_requests_and_tokens_in_a_minute_are_the_keys_and_the_organizations(bob: Asked) -> None:
    await bob.allow(tokens_per_minute=12)
    assert [(await bob.chat()).status_code for _ in range(2)] == [200, 429]
    await bob.allow()
    await bob.identity.organizations.set_requests_per_minute(bob.key.organization_id or 0, 1)
    assert [(await bob.chat()).status_code for _ in range(2)] == [200, 429]


async def test_an_organization_that_ended_ends_its_keys(bob: Asked) -> None:
    assert (await bob.chat()).status_code == 200
    await bob.identity.organizations.set_expiry(bob.key.organization_id or 0, 1.0)
    assert (await bob.chat()).status_code == 401
    await bob.identity.organizations.set_expiry(bob.key.organization_id or 0, None)
    assert (await bob.chat()).status_code == 200


async def test_the_list_has_what_the_caller_may_use(tmp_path: Path, migrated_file: Path) -> None:
    models = [
        {"name": name, "targets": [{"upstream": "vllm", "model": "small"}]} for name in ("cheap", "dear")
    ]
    async with asked(tmp_path, migrated_file, models=models) as bob:
        await bob.allow(models=("cheap",))
        listed = (await bob.http.get("/v1/models")).json()["data"]
        assert [card["id"] for card in listed] == ["cheap"]
        assert (await bob.http.get("/v1/models/dear")).status_code == 404
        assert (
            "dear" not in (await bob.chat(model="nothing")).json()["error"]["message"].split("models here")[1]
        )


async def test_only_a_key_that_acts_for_others_names_end_users(bob: Asked) -> None:
    await bob.chat(user="ada", headers={"x-end-user": "eve"})
    await bob.allow(names_end_users=True)
    await bob.chat(user="ada")
    await bob.chat(user="ada", headers={"x-end-user": "grace"})
    assert await bob.end_users() == ["", "ada", "grace"]
    assert (await bob.chat(user="x" * 300)).status_code == 400
    assert (await bob.chat(user=7)).status_code == 400


async def test_a_limit_per_end_user_is_for_each_of_them(tmp_path: Path, migrated_file: Path) -> None:
    limits = [{"per": "end_user", "requests": 1}]
    async with asked(tmp_path, migrated_file, limits=limits) as bob:
        assert [(await bob.chat(user=name)).status_code for name in "ab"] == [200, 429]
        await bob.allow(names_end_users=True)
        assert [(await bob.chat(user=name)).status_code for name in "aba"] == [200, 200, 429]


async def test_a_key_makes_none_that_may_do_more(bob: Asked) -> None:
    from llmgate.errors import Forbidden

    keys = bob.identity.keys
    await bob.allow(models=("small",))
    maker = await keys.verify(bob.secret)
    with pytest.raises(Forbidden):
        await keys.create(bob.key.user_id, "more", organization_id=bob.key.organization_id, maker=maker)
    held = Permissions(models=("small",))
    made, _ = await keys.create(
        bob.key.user_id, "same", organization_id=bob.key.organization_id, maker=maker, permissions=held
    )
    assert made.permissions == held
