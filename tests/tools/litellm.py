"""Configurations of LiteLLM, as its documentation has them, and what they come to."""

from __future__ import annotations

import tomllib
from typing import Any

from llmgate.tools.imported_gate import Result, render
from llmgate.tools.litellm_import import convert


def deployment(name: str, model: str, **params: Any) -> dict[str, Any]:
    """One entry of a model_list."""
    info = params.pop("model_info", None)
    return {"model_name": name, "litellm_params": {"model": model, **params}} | (
        {"model_info": info} if info else {}
    )


def converted(*models: dict[str, Any], **sections: Any) -> Result:
    """What a config.yaml with these models and sections comes to."""
    return convert({"model_list": list(models), **sections})


def toml(*models: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """The gate.toml of it, read again."""
    return tomllib.loads(render(converted(*models, **sections), source="config.yaml"))
