"""What `check --live` says of models by the upstreams' real lists."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmgate.cli.served_models import check_models
from llmgate.config import from_document

LISTS = {"small": {"tiny"}, "large": {"huge", "vast"}}


@dataclass
class Found:
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def found(lists: dict[str, set[str]] = LISTS, **tables: Any) -> Found:
    document = {
        "upstreams": {name: {"urls": [f"http://{name}"]} for name in ("small", "large")},
        "routes": [{"path": "/v1", "upstreams": ["small", "large"]}],
        **tables,
    }
    findings = Found()
    check_models(from_document(document, file=Path("gate.toml")), lists, findings)
    return findings


def entry(name: str, model: str | None, upstream: str = "large", **more: Any) -> dict[str, Any]:
    target = {"upstream": upstream} if model is None else {"upstream": upstream, "model": model}
    return {"name": name, "targets": [target], **more}


@pytest.mark.parametrize(
    ("models", "problems"),
    [
        ([entry("chat", "huge")], []),
        ([entry("vast", None)], []),
        ([entry("llama-*", None)], []),
        (
            [entry("chat", "hugo")],
            ['models[0].targets[0]: upstreams.large serves no "hugo" (but: huge, vast)'],
        ),
        ([entry("vest", None)], ['models[0].targets[0]: upstreams.large serves no "vest" (but: huge, vast)']),
        (
            [entry("chat", "huge", fallbacks=[{"upstream": "small", "model": "teeny"}])],
            ['models[0].fallbacks[0]: upstreams.small serves no "teeny" (but: tiny)'],
        ),
    ],
)
def test_targets_that_their_upstream_does_not_serve(
    models: list[dict[str, Any]], problems: list[str]
) -> None:
    assert found(models=models).problems == problems


def test_an_upstream_that_has_not_said_what_it_serves_is_believed() -> None:
    assert found({"small": {"tiny"}}, models=[entry("chat", "hugo")]).problems == []


def test_names_of_a_route_that_nobody_serves() -> None:
    routes = [{"path": "/v1", "upstreams": ["small", "large"], "models": ["tiny", "chat", "gone"]}]
    problems = found(routes=routes, models=[entry("chat", "huge")]).problems
    assert problems == ['routes[0].models: nobody serves "gone" (but: chat, huge, tiny, vast)']


def test_a_name_that_takes_another_upstreams_model_away() -> None:
    assert found(models=[entry("tiny", "huge")]).warnings == [
        'models[0].name: "tiny" is a model of upstreams.small, too: nobody reaches that one by this name'
    ]
    assert found(models=[entry("chat", "huge")]).warnings == []
