"""The middleware around each route: the list that serves, printed."""

import re
from pathlib import Path

import pytest

from cli.conftest import Cli

ROOT = Path(__file__).parents[2]
ROUTE = (
    *("BeginExchange", "RequestId", "Metrics", "Errors", "Authentication", "RateLimit"),
    *("BodyBudget", "ReadBody", "Models", "StoredResponses", "Quota", "Accounting", "ModelCards"),
)


def test_check_prints_every_stack_from_the_outside_in(unmigrated: Cli) -> None:
    """Once for all routes that have it, and first what stands around everything of an address."""
    lines = unmigrated("check").stdout.splitlines()
    start = lines.index("middleware, from the outside in:")
    assert lines[start + 1] == "  everything on 127.0.0.1:8000: AllowedHosts"
    route = next(line for line in lines if line.startswith("  routes[0] /v1 "))
    assert route.endswith(f" on 127.0.0.1:8000: {', '.join(ROUTE)}")


def test_a_program_finds_in_a_stack_every_way_that_has_it(unmigrated: Cli) -> None:
    stacks = unmigrated.json("check")["stacks"]
    [mine] = [stack for stack in stacks if stack["owner"] == "routes[0] /v1"]
    assert mine["middleware"] == [*ROUTE]
    rows = unmigrated.json("routes")
    ways = [f"{row['method']} {row['path']}" for row in rows if row["owner"] == "routes[0]"]
    assert mine["routes"] == ways
    assert {tuple(row["middleware"]) for row in rows if row["owner"] == "routes[0]"} == {ROUTE}


def test_a_surface_has_the_stacks_of_its_operations(unmigrated: Cli, folder: Path) -> None:
    """Few routes are named; of many, their number."""
    file = folder / "gate.toml"
    file.write_text(file.read_text() + "[plugins.llmgate_accounts]\n")
    lines = [line for line in unmigrated("check").stdout.splitlines() if "plugins.llmgate_accounts" in line]
    [public] = [line for line in lines if "POST /auth/register, POST /auth/token" in line]
    assert public.endswith("BeginExchange, RequestId, Metrics, Errors, SameOrigin, BodyBudget")
    assert all("Authentication" in line for line in lines if line != public)


@pytest.mark.parametrize("page", ["docs/guide/house.md", "README.md"])
def test_a_requests_way_is_drawn_as_it_is(page: str) -> None:
    """In words: what stands around a route that gate.toml says nothing special about."""
    drawing = (ROOT / page).read_text().split("client ──► router")[1].split("relay ──► upstream")[0]
    drawn = [re.split(r" {2,}", line.strip())[0].replace(" ", "") for line in drawing.splitlines()[1:-1]]
    assert drawn == [name.lower() for name in ROUTE]
