"""Evaluations as users see them: run to their end, or followed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import sqlalchemy as sa
from msgspec import Meta, Struct

from llmgate.plugin.api import BadRequest, Exchange, Principal, Refusal, Reply, StoreError, UpstreamFailed
from llmgate.plugin.kit.shapes import filled

from ..generate import text_of
from ..settings import Line
from ..shapes import Invalid, Missing, id_of, iso
from ..tables import evaluations
from .measure import Measures, Scorer, measure

if TYPE_CHECKING:
    from starlette.types import Message

    from llmgate.plugin.api import Call, Store

    from ..datasets.registry import Registry
    from ..models import Catalog, ModelRow
    from ..serving.targets import Target, TargetOf
    from ..settings import ModelSettings
    from .probes import Engine

log = logging.getLogger("llmgate.platform")

RUNNING, COMPLETED, FAILED = "RUNNING", "COMPLETED", "FAILED"
ANSWER_TOKENS = 64
LEASE_S = 30.0
HEARTBEAT_INTERVAL_S = 5.0
DONE = "Evaluation completed successfully"
STOPPED = "The gate was stopped while it ran."
LISTED = 1000

EngineOf = Callable[["Target", "ModelSettings"], "Engine"]


class NewEvaluation(Struct, frozen=True):
    """Body of `POST /models/{id}/evaluate`. Without `wait` it is answered at once and can be followed."""

    eval_name: Line = "Evaluation"
    dataset_id: int | None = None
    samples: Annotated[int, Meta(ge=1, le=200)] = 20
    wait: bool = True


class Metrics(Struct, frozen=True):
    """What was found; null where it could not be."""

    perplexity: float | None
    bleu_score: float | None
    rouge_score: float | None
    response_diversity: float | None
    avg_response_length: float | None


class Evaluated(Struct, frozen=True):
    """A finished evaluation. `notes` say why a metric is null, `score` is that of the operator's evaluator."""

    id: int
    model_id: int
    eval_name: str
    metrics: Metrics
    samples: int
    score: float | None
    notes: list[str]
    message: str


class Started(Struct, frozen=True):
    """An evaluation that runs: `GET /evaluations/{id}` follows it."""

    id: int
    model_id: int
    eval_name: str
    status: str
    message: str = "Evaluation started successfully"


class ShownEvaluation(Struct, frozen=True):
    """An evaluation. `done` of its `samples` are measured."""

    id: int
    model_id: int
    dataset_id: int
    eval_name: str
    status: str
    samples: int
    done: int
    perplexity: float | None
    bleu_score: float | None
    rouge_score: float | None
    response_diversity: float | None
    avg_response_length: float | None
    score: float | None
    notes: list[str]
    error: str | None
    created_at: str
    completed_at: str | None


class EvaluationList(Struct, frozen=True):
    """All evaluations, newest first."""

    evaluations: list[ShownEvaluation]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is measured, for whom."""

    id: int
    caller: Principal
    model: ModelRow
    target: Target
    engine: Engine
    lines: list[bytes]


class Evaluations:
    """One method for each operation. `route` is under which the answers are in the ledger."""

    def __init__(
        self,
        store: Store,
        catalog: Catalog,
        registry: Registry,
        *,
        default_dataset: str | None,
        target_of: TargetOf,
        engine_of: EngineOf,
        scorer: Scorer,
        new_id: Callable[[], str],
        name: str,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._registry = registry
        self._default_dataset = default_dataset
        self._target_of = target_of
        self._engine_of = engine_of
        self._scorer = scorer
        self._new_id = new_id
        self._name = name
        self._timer = timer
        self._running: set[asyncio.Task[None]] = set()

    async def evaluate(self, call: Call[NewEvaluation]) -> Reply:
        """Measure a model, to the end unless the caller does not wait."""
        wanted = call.body
        model, base = await self._catalog.usable(id_of(call), call.principal)
        dataset_id, lines = await self._lines(wanted, call.principal)
        target = self._target_of(model, base)
        engine = self._engine_of(target, base)
        evaluation_id = await self._begin(call.principal, model, wanted, dataset_id, len(lines))
        work = Evaluation(evaluation_id, call.principal, model, target, engine, lines)
        task = asyncio.create_task(self._run(work), name=f"evaluation {evaluation_id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        if not wanted.wait:
            return Reply(Started(evaluation_id, model.id, wanted.eval_name, RUNNING), 202)
        await asyncio.shield(task)
        found = await self._shown(evaluation_id)
        if found.status == FAILED:
            raise UpstreamFailed(found.error or "The evaluation failed.")
        return Reply(filled(Evaluated, found, metrics=filled(Metrics, found), message=DONE), 201)

    async def everything(self, call: Call) -> EvaluationList:
        """All evaluations."""
        query = sa.select(evaluations).order_by(evaluations.c.id.desc()).limit(LISTED)
        async with self._store.connect() as db:
            rows = (await db.execute(query)).all()
        return EvaluationList([self._show(row) for row in rows])

    async def get(self, call: Call) -> ShownEvaluation:
        """One evaluation. Raises `Missing`."""
        return await self._shown(id_of(call))

    async def aclose(self) -> None:
        """Give up what runs: whoever looks learns that the gate was stopped."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _lines(self, wanted: NewEvaluation, caller: Principal) -> tuple[int, list[bytes]]:
        if wanted.dataset_id is not None:
            dataset = await self._registry.usable(wanted.dataset_id, caller)
        else:
            found = await self._registry.named(self._default_dataset)
            if found is None:
                raise Invalid("dataset_id", "there is no data set to evaluate with: name one")
            dataset = found
        lines = self._registry.files.test(dataset.folder, wanted.samples)
        if not lines:
            raise Invalid("dataset_id", "nothing of this data set is held out for evaluation")
        return dataset.id, lines

    async def _begin(
        self, caller: Principal, model: ModelRow, wanted: NewEvaluation, dataset_id: int, samples: int
    ) -> int:
        now = self._store.clock()
        row = {
            "owner_id": caller.user_id,
            "model_id": model.id,
            "dataset_id": dataset_id,
            "eval_name": wanted.eval_name,
            "status": RUNNING,
            "samples": samples,
            "runner": self._name,
            "lease_until": now + LEASE_S,
            "created_at": now,
        }
        mine = (evaluations.c.owner_id == caller.user_id) & (evaluations.c.status == RUNNING)
        async with self._store.begin() as db:
            await self._store.serialize(db, f"platform evaluations of {caller.user_id}")
            if await db.scalar(
                sa.select(evaluations.c.id).where(mine, evaluations.c.lease_until > now).limit(1)
            ):
                raise BadRequest("Too many evaluations: wait for the one that runs")
            return int(
                (await db.execute(evaluations.insert().values(row).returning(evaluations.c.id))).scalar_one()
            )

    async def _run(self, work: Evaluation) -> None:
        progress = [0]
        beats = asyncio.create_task(self._heartbeat(work.id, progress))
        values: dict[str, Any]
        try:
            found = await measure(
                work.lines, lambda prompt: self._answer(work, prompt), work.engine, self._scorer,
                lambda done: progress.__setitem__(0, done),
            )  # fmt: skip
            values = _values(found)
        except Refusal as refusal:
            values = {"status": FAILED, "error": refusal.message}
        except asyncio.CancelledError:
            await self._write(work.id, {"status": FAILED, "error": STOPPED}, progress[0])
            raise
        except Exception:
            log.exception("evaluation %d failed", work.id)
            values = {"status": FAILED, "error": "The evaluation failed: the gate's log says why."}
        finally:
            beats.cancel()
            await asyncio.gather(beats, return_exceptions=True)
        await self._write(work.id, values, progress[0])

    async def _answer(self, work: Evaluation, prompt: str) -> tuple[str, int]:
        """The model's greedy answer, charged to the caller but to no key: an evaluation is one request of its day."""
        caller = work.caller
        payer = Principal(
            caller.user_id, caller.username, caller.roles, organization_id=caller.organization_id
        )
        exchange = Exchange(id=self._new_id(), started=self._timer(), route=self._name, principal=payer)
        exchange.surface = self._name
        sampling = work.target.sampling(temperature=0.0, top_p=1.0, top_k=0)
        body = {"prompt": prompt, "max_tokens": ANSWER_TOKENS, **sampling}
        answer = await work.target.complete(body, exchange, _nobody_leaves)
        usage = answer.get("usage") or {}
        return text_of(answer), int(usage.get("completion_tokens") or 0)

    async def _heartbeat(self, evaluation_id: int, progress: list[int]) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)
            values = {"done": progress[0], "lease_until": self._store.clock() + LEASE_S}
            try:
                async with self._store.begin() as db:
                    await db.execute(
                        evaluations.update().where(evaluations.c.id == evaluation_id).values(values)
                    )
            except StoreError as error:
                log.warning("evaluation %d: %s", evaluation_id, error)

    async def _write(self, evaluation_id: int, values: dict[str, Any], done: int) -> None:
        row = {**values, "done": done, "completed_at": self._store.clock()}
        async with self._store.begin() as db:
            await db.execute(evaluations.update().where(evaluations.c.id == evaluation_id).values(row))

    async def _shown(self, evaluation_id: int) -> ShownEvaluation:
        query = sa.select(evaluations).where(evaluations.c.id == evaluation_id)
        async with self._store.connect() as db:
            row = (await db.execute(query)).first()
        if row is None:
            raise Missing
        return self._show(row)

    def _show(self, row: sa.Row[Any]) -> ShownEvaluation:
        gone = row.status == RUNNING and row.lease_until < self._store.clock()
        values = {"status": FAILED, "error": STOPPED} if gone else {}
        return filled(ShownEvaluation, row, time=iso, notes=(row.notes or "").splitlines(), **values)


def _values(found: Measures) -> dict[str, Any]:
    metrics = {name: getattr(found, name) for name in (*Metrics.__struct_fields__, "score")}
    return {**metrics, "status": COMPLETED, "notes": "\n".join(found.notes) or None}


async def _nobody_leaves() -> Message:
    await asyncio.Event().wait()
    raise AssertionError
