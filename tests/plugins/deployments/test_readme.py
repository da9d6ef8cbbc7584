"""The README says what there is."""

import re
from pathlib import Path
from typing import Any

import msgspec

import llmgate_deployments
from llmgate_deployments import operations as ops
from llmgate_deployments.plugin import Settings

README = (Path(llmgate_deployments.__file__).parent / "README.md").read_text()


class Nothing:
    """Has every handler."""

    def __getattr__(self, name: str) -> Any:
        return self


def test_every_setting_is_in_the_readme() -> None:
    """And no other."""
    table = README.split("## Operations")[0]
    named = {
        name for row in re.findall(r"^\| (`.*?) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)
    }
    assert named == {field.name for field in msgspec.structs.fields(Settings)} | {"prefix", "listen"}


def test_every_path_is_in_the_readme() -> None:
    """By its path below /api/v1."""
    table = [
        *ops.auth_operations(Nothing()),
        *ops.deployment_operations(Nothing()),
        *ops.inference_operations(lambda **_: None, Nothing(), route="x"),
        *ops.model_operations(Nothing()),
        *ops.monitoring_operations(Nothing()),
    ]
    for operation in table:
        assert re.search(re.escape(operation.path.removeprefix("/api/v1")) + r"[`?]", README), operation.path
