"""The table of the surface's operations: which path does what, for whom, and how it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmgate.plugin.api import ANY, JSON, MULTIPART
from llmgate.plugin.kit.job_states import Wanted
from llmgate.plugin.kit.operations import OperationTable

from . import accounts, generate, models, statistics
from .datasets import registry, uploads
from .evaluation import operations as evaluation
from .shapes import Problem
from .training import operations as training

if TYPE_CHECKING:
    from llmgate.plugin.api import AnyOperation, Handler

ANYBODY = OperationTable("/api", problem=Problem, parameters={"id": int}, media_types=(JSON, ANY))
AT = ANYBODY.but(credentials=("x-api-key", "bearer"))

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
    read = ANYBODY if public_lists else AT
    listed = AT.but(required=not public_lists)
    return [
        *_account_operations(parts.accounts, counted),
        *_model_operations(parts, counted, read),
        listed("GET /datasets", parts.datasets.everything, "Data sets: those of everybody, and your own.",
               registry.DatasetList),
        AT("POST /datasets", counted(parts.upload), "Upload a data set of your own, as JSONL.",
           {201: registry.ShownDataset}, body=uploads.DatasetForm, media_types=(MULTIPART, ANY)),
        *_training_operations(parts.training, counted, read),
        read("GET /evaluations", parts.evaluations.everything, "Evaluations.", evaluation.EvaluationList),
        read("GET /evaluations/{id}", parts.evaluations.get, "An evaluation.", evaluation.ShownEvaluation, 404),
        read("GET /statistics", parts.counts.statistics, "Numbers of the platform.", statistics.Statistics),
        ANYBODY("GET /health", parts.counts.health, "Health check.", statistics.Health),
    ]  # fmt: skip


def _account_operations(does: accounts.Accounts, counted: Counted) -> list[AnyOperation]:
    at = AT.but("/auth")
    return [
        at("POST /register", does.register, "Register, and get an API key.", {201: accounts.Registered}, 403,
           body=accounts.Registration, credentials=()),
        at("GET /keys", does.everything, "Your API keys, and what was used of them today.", accounts.KeyList),
        at("POST /keys", counted(does.create), "Make an API key.", {201: accounts.CreatedKey}, body=accounts.NewKey),
        at("DELETE /keys/{id}", does.delete, "End an API key.", accounts.Done, 404),
    ]  # fmt: skip


def _model_operations(parts: Parts, counted: Counted, read: OperationTable) -> list[AnyOperation]:
    at, read, does = AT.but("/models"), read.but("/models"), parts.models
    return [
        read("GET", does.everything, "Models.", models.ModelList),
        at("POST", counted(does.create), "Give a base model a name of your own.", {201: models.CreatedModel},
           body=models.NewModel),
        read("GET /{id}", does.get, "A model.", models.ShownModel, 404),
        at("DELETE /{id}", does.delete, "Delete a model of yours, and its adapter.", accounts.Done, 404),
        read("GET /{id}/metrics", does.metrics, "What evaluations of a model have found.",
             list[models.ModelMetrics], 404),
        at("POST /{id}/generate", accounts.with_rates(parts.accounts, parts.generate), "Generate text.",
           generate.Generated, 404, 502, body=generate.Generation, scope="models"),
        at("POST /{id}/evaluate", counted(parts.evaluations.evaluate), "Evaluate a model.",
           {201: evaluation.Evaluated, 202: evaluation.Started}, 404, 502, body=evaluation.NewEvaluation),
    ]  # fmt: skip


def _training_operations(
    does: training.Training, counted: Counted, read: OperationTable
) -> list[AnyOperation]:
    at, read = AT.but("/training"), read.but("/training")
    return [
        at("POST", counted(does.create), "Train a LoRA adapter of a model.", {201: training.CreatedJob}, 404,
           body=training.NewJob),
        at("POST /coding", counted(does.create_coding), "Train a LoRA adapter for code.",
           {201: training.CreatedCodingJob}, 404, body=training.NewCodingJob),
        read("GET", does.everything, "Training jobs.", training.JobList),
        read("GET /{id}", does.get, "A training job, with its log.", training.ShownJob, 404),
        read("GET /{id}/progress", does.progress, "How far a training job is.", training.JobProgress, 404),
        *(at(f"POST /{{id}}/{verb}", does.steer(wanted), f"{verb.capitalize()} a training job.", training.Changed,
             400, 404)
          for verb, wanted in (("pause", Wanted.PAUSE), ("resume", Wanted.RESUME), ("cancel", Wanted.CANCEL))),
    ]  # fmt: skip
