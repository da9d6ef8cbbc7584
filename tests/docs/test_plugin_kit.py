"""The guide to the plugin kit: its surface works as it stands, and its table has every module."""

import re
import sys
from pathlib import Path
from shutil import copy
from types import ModuleType
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from gates import running
from stores import migrated_file

from llmgate.plugin import kit

__all__ = ["migrated_file"]

GUIDE = Path(__file__).parents[2].joinpath("docs/guide/plugin-kit.md").read_text()
ANN = {"username": "anna", "password": "secret-password"}


@pytest.fixture
def surface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that the guide shows."""
    cheap = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr("llmgate.identity.passwords.PasswordHasher", lambda: cheap)
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    module = ModuleType("notes_of_the_guide")
    module.__file__ = str(tmp_path / "notes.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(code, module.__file__, "exec"), module.__dict__)  # noqa: S102 - the guide's own
    return module


async def test_the_surface_of_the_guide_works(
    tmp_path: Path, migrated_file: Path, surface: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users, keys and notes, and who may do what."""
    monkeypatch.setattr("llmgate.gate.build.load_plugin", lambda _: surface.Notes())
    monkeypatch.setattr("llmgate.gate.build.migrations_of", lambda _: [None])
    store = Path(copy(migrated_file, tmp_path / "gate.db"))
    async with (
        running(tmp_path, store, plugins={"notes": {}}) as gate,
        httpx.AsyncClient(base_url=gate.url, trust_env=False) as http,
    ):
        async with gate.runtime.store.begin() as db:
            await db.run_sync(surface.metadata.create_all)
        assert (await http.post("/register", json=ANN)).status_code == 201
        token = (await http.post("/login", json=ANN)).json()["access_token"]
        session = {"authorization": f"Bearer {token}"}
        key = (await http.post("/keys", json={"name": "k"}, headers=session)).json()
        by_key = {"x-api-key": key["secret"]}
        assert [each["name"] for each in (await http.get("/keys", headers=by_key)).json()] == ["k"]

        note = {"name": "first", "text": "hello"}
        assert (await http.post("/notes", json=note, headers=by_key)).status_code == 403
        users = gate.gate.services.identity.users
        await users.grant((await users.by_username("anna")).id, "admin")
        made = (await http.post("/notes", json=note, headers=by_key)).json()
        assert (await http.post("/notes", json=note, headers=by_key)).status_code == 409
        changed = await http.put(f"/notes/{made['id']}", json={"text": "bye"}, headers=by_key)
        assert changed.json() == {**made, "text": "bye"}
        assert (await http.get("/notes", headers=by_key)).json() == [changed.json()]
        assert (await http.delete(f"/notes/{made['id']}", headers=by_key)).status_code == 204
        missing = await http.get(f"/notes/{made['id']}", headers=by_key)
        assert (missing.status_code, missing.json()) == (404, {"detail": "There is no such note."})

        bearer = {"authorization": f"Bearer {key['secret']}"}
        assert (await http.delete(f"/keys/{key['id']}", headers=bearer)).status_code == 403
        assert (await http.delete(f"/keys/{key['id']}", headers=session)).status_code == 204
        assert (await http.get("/notes", headers=by_key)).status_code == 401


def test_every_module_of_the_kit_is_in_the_guide() -> None:
    """And no other."""
    modules = {file.stem for folder in kit.__path__ for file in Path(folder).glob("*.py")} - {"__init__"}
    rows = re.findall(r"^\| (`.*?) \|", GUIDE, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == modules
