"""The table of the surface's operations: which path does what, for whom, and how it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import ANY, JSON, MULTIPART, Operation

from . import accounts, generate, models, statistics
from .datasets import registry, uploads
from .evaluation import operations as evaluation
from .shapes import Problem
from .training import operations as training
from .training.lifecycle import Wanted

if TYPE_CHECKING:
    from llmgate.plugin.api import AnyOperation, Handler

BASE = "/api"
KEY = ("x-api-key", "bearer")

Read = Callable[..., "AnyOperation"]
Counted = Callable[["Handler[Any, Any, Any]"], "Handler[Any, Any, Any]"]
"""Makes a handler one request of the caller's day."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the operations are done by."""

    accounts: accounts.Accounts
    models: models.Models
    generate: generate.Generate
    datasets: registry.Registry
    upload: uploads.Upload
    training: training.Training
    evaluations: evaluation.Evaluations
    counts: statistics.Counts


def operations(parts: Parts, counted: Counted, *, public_lists: bool) -> list[AnyOperation]:
    """All of them. `public_lists`: what is only read needs no key."""
    at = partial(_operation, KEY)
    read = partial(_operation, () if public_lists else KEY, "GET")
    listed = partial(_operation, KEY, "GET", required=not public_lists)
    return [
        *_account_operations(parts.accounts, counted),
        *_model_operations(parts, counted, read),
        listed("/datasets", parts.datasets.everything, "Data sets: those of everybody, and your own.",
               answers(200, registry.DatasetList)),
        at("POST", "/datasets", None, "Upload a data set of your own, as JSONL.",
           answers(201, registry.ShownDataset), body=uploads.DatasetForm, media_types=(MULTIPART,),
           app=uploads.UploadApp(counted(parts.upload))),
        *_training_operations(parts.training, counted, read),
        read("/evaluations", parts.evaluations.everything, "Evaluations.",
             answers(200, evaluation.EvaluationList)),
        read("/evaluations/{id}", parts.evaluations.get, "An evaluation.",
             answers(200, evaluation.ShownEvaluation, 404)),
        read("/statistics", parts.counts.statistics, "Numbers of the platform.",
             answers(200, statistics.Statistics)),
        _operation((), "GET", "/health", parts.counts.health, "Health check.",
                   answers(200, statistics.Health)),
    ]  # fmt: skip


def _account_operations(does: accounts.Accounts, counted: Counted) -> list[AnyOperation]:
    at = partial(_operation, KEY)
    return [
        _operation((), "POST", "/auth/register", does.register, "Register, and get an API key.",
                   answers(201, accounts.Registered, 403), body=accounts.Registration),
        at("GET", "/auth/keys", does.everything, "Your API keys, and what was used of them today.",
           answers(200, accounts.KeyList)),
        at("POST", "/auth/keys", counted(does.create), "Make an API key.", answers(201, accounts.CreatedKey),
           body=accounts.NewKey),
        at("DELETE", "/auth/keys/{id}", does.delete, "End an API key.", answers(200, accounts.Done, 404)),
    ]  # fmt: skip


def _model_operations(parts: Parts, counted: Counted, read: Read) -> list[AnyOperation]:
    at, does = partial(_operation, KEY), parts.models
    return [
        read("/models", does.everything, "Models.", answers(200, models.ModelList)),
        at("POST", "/models", counted(does.create), "Give a base model a name of your own.",
           answers(201, models.CreatedModel), body=models.NewModel),
        read("/models/{id}", does.get, "A model.", answers(200, models.ShownModel, 404)),
        at("DELETE", "/models/{id}", does.delete, "Delete a model of yours, and its adapter.",
           answers(200, accounts.Done, 404)),
        read("/models/{id}/metrics", does.metrics, "What evaluations of a model have found.",
             answers(200, list[models.ModelMetrics], 404)),
        at("POST", "/models/{id}/generate", parts.generate, "Generate text.",
           answers(200, generate.Generated, 404, 502), body=generate.Generation, scope="models"),
        at("POST", "/models/{id}/evaluate", counted(parts.evaluations.evaluate), "Evaluate a model.",
           {**answers(201, evaluation.Evaluated, 404, 502), 202: evaluation.Started},
           body=evaluation.NewEvaluation),
    ]  # fmt: skip


def _training_operations(does: training.Training, counted: Counted, read: Read) -> list[AnyOperation]:
    at = partial(_operation, KEY, "POST")
    return [
        at("/training", counted(does.create), "Train a LoRA adapter of a model.",
           answers(201, training.CreatedJob, 404), body=training.NewJob),
        at("/training/coding", counted(does.create_coding), "Train a LoRA adapter for code.",
           answers(201, training.CreatedCodingJob, 404), body=training.NewCodingJob),
        read("/training", does.everything, "Training jobs.", answers(200, training.JobList)),
        read("/training/{id}", does.get, "A training job, with its log.", answers(200, training.ShownJob, 404)),
        read("/training/{id}/progress", does.progress, "How far a training job is.",
             answers(200, training.JobProgress, 404)),
        *(
            at(f"/training/{{id}}/{verb}", does.steer(wanted), f"{verb.capitalize()} a training job.",
               answers(200, training.Changed, 400, 404))
            for verb, wanted in (("pause", Wanted.PAUSE), ("resume", Wanted.RESUME), ("cancel", Wanted.CANCEL))
        ),
    ]  # fmt: skip


def answers(status: int, success: Any, *refusals: int) -> dict[int, Any]:
    """The answers of an operation: what it gives, and the refusals besides those that any like it may meet."""
    return {status: success, **dict.fromkeys(refusals, Problem)}


def _operation(  # noqa: PLR0917 - a line of the table
    credentials: tuple[str, ...],
    method: str,
    path: str,
    handler: Any,
    summary: str,
    shown: Mapping[int, Any],
    *,
    media_types: tuple[str, ...] = (JSON, ANY),
    **more: Any,
) -> AnyOperation:
    return Operation(
        method=method,
        path=BASE + path,
        handler=handler,
        credentials=credentials,
        answers=shown,
        summary=summary,
        parameters={"id": int} if "{id}" in path else {},
        media_types=media_types,
        **more,
    )
