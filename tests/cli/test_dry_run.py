"""A gate that is built to see whether it can be, and leaves nothing."""

from pathlib import Path
from tempfile import gettempdir

import pytest
from stores import files_in

from llmgate.cli.dry_run import dry_run
from llmgate.config import load
from llmgate.errors import ConfigError

GATE = """
[gate]
workers = 4
[store]
url = "postgresql://nobody.invalid/gate"
[limits_store]
url = "redis://nobody.invalid"
[upstreams.u]
urls = ["http://nobody.invalid"]
[[routes]]
path = "/v1"
upstream = "u"
"""


def left_behind() -> set[str]:
    """Folders of dry runs, of this and other processes."""
    return {path.name for path in Path(gettempdir()).glob("llmgate-*")}


async def test_neither_stores_nor_upstreams_are_asked(tmp_path: Path) -> None:
    """They need not be there: the gate is built on an empty store of its own, which is gone afterwards."""
    (tmp_path / "gate.toml").write_text(GATE)
    before = left_behind()
    async with dry_run(load(tmp_path / "gate.toml")) as gate:
        assert [route.path for app in gate.apps.values() for route in app.routes if route.name == "/v1"] == [
            "/v1"
        ]
        assert gate.services.store.url.get_backend_name() == "sqlite"
    assert left_behind() <= before
    assert files_in(tmp_path) == ["gate.toml"]


async def test_an_upstream_may_be_the_app_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(GATE.replace('"http://nobody.invalid"', '"app:"'))
    async with dry_run(load(tmp_path / "gate.toml")) as gate:
        assert "u" in gate.services.upstreams


async def test_what_only_building_shows_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "gate.toml").write_text(GATE + "[plugins.nope]\n")
    with pytest.raises(ConfigError, match=r"plugins\.nope: no such plugin is installed"):
        async with dry_run(load(tmp_path / "gate.toml")):
            pass
