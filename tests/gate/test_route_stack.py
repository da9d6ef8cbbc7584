"""The layers of a route of gate.toml, in one list, as `llmgate routes` and whoever serves them read it."""

from pathlib import Path
from typing import Any

import pytest

from llmgate.config import from_document
from llmgate.errors import ConfigError
from llmgate.gate.build import open_gate
from llmgate.gate.mounts import ProxyMount
from llmgate.gate.runtime import open_runtime
from llmgate.store import migrate


async def stack_of(folder: Path, **route: Any) -> list[str]:
    """The names of the classes around the relay of a gate's only route, from the outside in."""
    store = f"sqlite:///{folder / 'gate.db'}"
    await migrate(store)
    document = {
        "store": {"url": store},
        "upstreams": {"vllm": {"urls": ["http://127.0.0.1:9"], "health": {"enabled": False}}},
        "routes": [{"path": "/v1", "upstream": "vllm", **route}],
    }
    config = from_document(document, file=folder / "gate.toml")
    async with open_runtime(config) as runtime, open_gate(config, runtime) as gate:
        [app] = gate.apps.values()
        [mount] = [route for route in app.routes if isinstance(route, ProxyMount)]
        return [layer.cls.__name__ for layer in mount.middleware]


async def test_rate_limits_come_before_the_body_and_what_counts_after_it(tmp_path: Path) -> None:
    names = await stack_of(tmp_path)
    places = [names.index(name) for name in ("RequestId", "Metrics", "Errors", "Authentication", "ReadBody")]
    assert places == sorted(places)
    assert names.index("Authentication") < names.index("RateLimit") < names.index("BodyBudget")
    assert names.index("BodyBudget") < names.index("ReadBody")
    behind = [names.index(name) for name in ("ReadBody", "Models", "Quota", "Accounting", "ModelCards")]
    assert behind == sorted(behind)
    assert names[-1] == "ModelCards"


async def test_a_route_has_the_layers_that_it_names_in_its_order(tmp_path: Path) -> None:
    names = await stack_of(tmp_path, authentication="none", middleware=["accounting"])
    assert "Accounting" in names
    assert not {"Authentication", "Quota", "RateLimit"} & {*names}


async def test_a_layer_that_no_plugin_has_is_a_problem_of_gate_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r'middleware: .*"nobody.layer"'):
        await stack_of(tmp_path, middleware=["nobody.layer"])
