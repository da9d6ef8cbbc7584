"""Training jobs as users see them: made, listed, followed, paused, resumed, cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import asdict

from llmgate.plugin.api import BadRequest
from llmgate.plugin.kit.job_states import Status, Wanted
from llmgate.plugin.kit.shapes import filled

from ..shapes import Invalid, Missing, id_of, iso, may_use

if TYPE_CHECKING:
    from llmgate.plugin.api import AnyCall, Call

    from ..datasets.registry import Dataset, Registry
    from ..models import Catalog
    from ..settings import Settings
    from .jobs import Job, Queue

Epochs = Annotated[int, Meta(ge=1, le=100)]
LearningRate = Annotated[float, Meta(gt=0, le=1)]
BatchSize = Annotated[int, Meta(ge=1, le=256)]
Rank = Annotated[int, Meta(ge=1)]
Alpha = Annotated[int, Meta(ge=1, le=1024)]
Dropout = Annotated[float, Meta(ge=0, lt=1)]
JobName = Annotated[str, Meta(min_length=1, max_length=128)]
Id = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class NewJob(Struct, frozen=True, kw_only=True):
    """Body of `POST /training`. Without `dataset_id`, the first data set."""

    model_id: Id
    job_name: JobName
    dataset_id: Id | None = None
    epochs: Epochs = 3
    learning_rate: LearningRate = 1e-4
    batch_size: BatchSize = 8
    lora_r: Rank = 8
    lora_alpha: Alpha = 32
    lora_dropout: Dropout = 0.05


class NewCodingJob(Struct, frozen=True, kw_only=True):
    """Body of `POST /training/coding`."""

    model_id: Id
    job_name: JobName
    dataset_id: Id
    epochs: Epochs = 5
    learning_rate: LearningRate = 5e-5
    batch_size: BatchSize = 4
    lora_r: Rank = 16
    lora_alpha: Alpha = 32
    lora_dropout: Dropout = 0.1


class CreatedJob(Struct, frozen=True):
    """A job that waits for a worker."""

    id: int
    job_name: str
    model_id: int
    status: str
    message: str = "Training job created and started successfully"


class CreatedCodingJob(Struct, frozen=True):
    """A job that waits for a worker."""

    id: int
    job_name: str
    model_id: int
    dataset_id: int
    training_type: str
    status: str
    message: str = "Coding training job created and started successfully"


class ListedJob(Struct, frozen=True):
    """A job. `progress` in percent."""

    id: int
    model_id: int
    job_name: str
    status: str
    progress: float
    epochs: int
    current_epoch: int
    learning_rate: float
    batch_size: int
    created_at: str
    started_at: str | None
    completed_at: str | None


class ShownJob(ListedJob, frozen=True):
    """A job, by its id. `result_model_id`: the model that it has made."""

    lora_r: int
    lora_alpha: int
    lora_dropout: float
    current_loss: float | None
    logs: str
    training_type: str
    dataset_id: int
    result_model_id: int | None
    error: str | None


class JobList(Struct, frozen=True):
    """All jobs, newest first."""

    training_jobs: list[ListedJob]


class JobProgress(Struct, frozen=True):
    """How far a job is."""

    progress: float
    status: str
    current_epoch: int
    current_loss: float | None
    logs: str


class Changed(Struct, frozen=True):
    """What a job is now."""

    id: int
    status: str
    message: str


StructT = TypeVar("StructT", bound=Struct)

REFUSED = {
    Wanted.PAUSE: "Job is not running",
    Wanted.RESUME: "Job is not paused",
    Wanted.CANCEL: "Job is finished",
}
DONE = {
    Wanted.PAUSE: "Training job paused successfully",
    Wanted.RESUME: "Training job resumed successfully",
    Wanted.CANCEL: "Training job cancelled successfully",
}


class Training:
    """One method for each operation."""

    def __init__(self, settings: Settings, queue: Queue, catalog: Catalog, registry: Registry) -> None:
        self._settings = settings
        self._queue = queue
        self._catalog = catalog
        self._registry = registry

    async def create(self, call: Call[NewJob]) -> CreatedJob:
        """A job with the defaults for any training."""
        job = await self._create(call, "general")
        return CreatedJob(job.id, job.job_name, job.model_id, job.state.shown)

    async def create_coding(self, call: Call[NewCodingJob]) -> CreatedCodingJob:
        """A job with the defaults for code."""
        job = await self._create(call, "coding")
        return CreatedCodingJob(
            job.id, job.job_name, job.model_id, job.dataset_id, job.training_type, job.state.shown
        )

    async def everything(self, call: Call) -> JobList:
        """All jobs."""
        return JobList([_shown(ListedJob, job) for job in await self._queue.all()])

    async def get(self, call: Call) -> ShownJob:
        """One job. Raises `Missing`."""
        job = await self._found(id_of(call))
        return _shown(ShownJob, job, logs=await self._logs(job))

    async def progress(self, call: Call) -> JobProgress:
        """How far a job is. Raises `Missing`."""
        job = await self._found(id_of(call))
        return _shown(JobProgress, job, logs=await self._logs(job))

    def steer(self, wanted: Wanted) -> Callable[[AnyCall], Any]:
        """The operation that asks for `wanted`. Raises `Missing`, and `BadRequest` in a state that does not fit."""

        async def handler(call: AnyCall) -> Changed:
            job = await self._found(id_of(call))
            if not may_use(job.owner_id, call.principal):
                raise Missing
            if not await self._queue.request(job.id, wanted):
                raise BadRequest(REFUSED[wanted])
            now = await self._found(job.id)
            return Changed(now.id, Status.PAUSED if wanted is Wanted.PAUSE else now.state.shown, DONE[wanted])

        return handler

    async def _create(self, call: AnyCall, training_type: str) -> Job:
        wanted = call.body
        if wanted.lora_r > self._settings.max_lora_r:
            raise Invalid("lora_r", f"at most {self._settings.max_lora_r}")
        if not (wanted.job_name.isprintable() and wanted.job_name.strip()):
            raise Invalid("job_name", "expected printable characters")
        model, base = await self._catalog.usable(wanted.model_id, call.principal)
        if base.train_from is None or model.job_id is not None:
            raise Invalid("model_id", "this model cannot be trained")
        dataset = await self._dataset(wanted.dataset_id, call)
        values = {
            **asdict(wanted),
            "owner_id": call.principal.user_id,
            "key_id": call.principal.key_id,
            "dataset_id": dataset.id,
            "dataset_folder": dataset.folder,
            "training_type": training_type,
        }
        job = await self._queue.add(values, max_unfinished=self._settings.max_waiting)
        if job is None:
            raise BadRequest("Too many training jobs")
        return job

    async def _dataset(self, dataset_id: int | None, call: AnyCall) -> Dataset:
        if dataset_id is not None:
            return await self._registry.usable(dataset_id, call.principal)
        first = await self._registry.named(None)
        if first is None:
            raise Invalid("dataset_id", "there is no data set yet: upload one")
        return first

    async def _found(self, job_id: int) -> Job:
        job = await self._queue.by_id(job_id)
        if job is None:
            raise Missing
        return job

    async def _logs(self, job: Job) -> str:
        """What a job's log says; of one that waits, also for what."""
        if job.state.shown is not Status.PENDING:
            return job.logs
        return f"{job.logs}{await self._queue.waiting_for(job)}\n"


def _shown(kind: type[StructT], job: Job, **values: Any) -> StructT:
    return filled(kind, job, time=iso, status=job.state.shown, **values)
