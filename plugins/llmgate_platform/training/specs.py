"""What a trainer is told of a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..datasets.files import TEST, TRAIN
from ..shapes import Missing
from .worker import Untrainable

if TYPE_CHECKING:
    from ..artifacts import Artifacts
    from ..models import Catalog
    from ..settings import Settings
    from .jobs import Job

NAMES = ("epochs", "learning_rate", "batch_size", "lora_r", "lora_alpha", "lora_dropout")
HELD_OUT_EXAMPLES = 40
"""On which the loss is told after each epoch."""


class Specs:
    """Makes the specifications, from the job, gate.toml and the artifacts."""

    def __init__(self, settings: Settings, catalog: Catalog, artifacts: Artifacts) -> None:
        self._settings = settings
        self._catalog = catalog
        self._artifacts = artifacts

    async def of(self, job: Job) -> dict[str, Any]:
        """The trainer's `Spec`, as JSON has it. Raises `Untrainable`."""
        try:
            row = await self._catalog.by_id(job.model_id)
        except Missing:
            raise Untrainable("The model that was to be trained was deleted.") from None
        base = self._catalog.declared.get(row.base)
        if base is None or base.train_from is None:
            raise Untrainable("The model is not in gate.toml any more, or has no train_from there.")
        folder = self._artifacts.datasets / job.dataset_folder
        if not (folder / TRAIN).exists():
            raise Untrainable("The file of the data set is not there.")
        return {
            **{name: getattr(job, name) for name in NAMES},
            "base": base.train_from,
            "dataset": str(folder / TRAIN),
            "held_out": str(folder / TEST) if (folder / TEST).stat().st_size else None,
            "held_out_examples": HELD_OUT_EXAMPLES,
            "gguf": base.served_by == "llama.cpp",
            "max_tokens": self._settings.max_train_tokens,
            "save_seconds": self._settings.save_seconds,
            "threads": self._settings.train_threads,
            "seed": 0,
        }
