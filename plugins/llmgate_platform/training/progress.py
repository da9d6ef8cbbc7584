"""What a trainer's events mean for its job: values for its row, and lines for its log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from llmgate.plugin.kit.jobs import MAX_LOG

if TYPE_CHECKING:
    from llmgate.plugin.kit.child import Event

LINES = 50
"""Lines about steps in the log of one job, however many steps it has."""


class Progress:
    """Follows one trainer. `clock`: seconds since the epoch; `progress`: percent that the job had reached before."""

    def __init__(self, clock: Callable[[], float], *, epochs: int, progress: float) -> None:
        self._clock = clock
        self._epochs = epochs
        self._progress = progress
        self._gpus = 0
        self._spent = 0.0
        self.reason: str | None = None
        """Why it failed, in its own words."""
        self.paused = False
        """Whether it has said that it ends with a checkpoint; a launcher's exit status may be another."""

    def add(self, events: Iterable[Event]) -> tuple[dict[str, Any], list[str]]:
        """The new values of the row, and the lines to add to the log. `spent` has the seconds spent since the last."""
        values: dict[str, Any] = {}
        lines = []
        for event in events:
            changed, line = self._one(event)
            values |= changed
            if line is not None:
                lines.append(self.line(line))
            values["spent"] = values.get("spent", 0.0) + self._spend(event)
        return values, lines

    def line(self, text: str) -> str:
        """A line of the log: when, and what."""
        return f"[{datetime.fromtimestamp(self._clock(), UTC):%Y-%m-%d %H:%M:%S}] {text}"

    def _spend(self, event: Event) -> float:
        """GPU seconds where there are GPUs, else CPU seconds."""
        total = float(event.get("seconds", 0)) * self._gpus if self._gpus else float(event.get("cpu", 0))
        spent, self._spent = max(0.0, total - self._spent), max(total, self._spent)
        return spent

    def _one(self, event: Event) -> tuple[dict[str, Any], str | None]:
        match event.get("event"):
            case "converted":
                return {}, "The base model was converted for training."
            case "started":
                return self._started(event)
            case "step":
                return self._step(event)
            case "evaluated":
                return {}, f"Loss on held-out examples at step {event['step']}: {event['loss']:.4f}"
            case "saved":
                return {}, f"Checkpoint at step {event['step']}."
            case "paused":
                self.paused = True
            case "failed":
                self.reason = str(event.get("error"))[:MAX_LOG]
        return {}, None

    def _started(self, event: Event) -> tuple[dict[str, Any], str]:
        self._gpus = int(event["gpus"])
        where = f"{self._gpus} GPUs" if self._gpus else "CPU"
        at = f"step {event['step']} of {event['steps']}"
        values = {"steps": event["steps"], "device": "gpu" if self._gpus else "cpu", "current_epoch": 1}
        if event["step"]:
            values.pop("current_epoch")
        return values, f"Training on {where}: {event['examples']} examples, from {at} on."

    def _step(self, event: Event) -> tuple[dict[str, Any], str | None]:
        step, steps = event["step"], event["steps"]
        self._progress = max(self._progress, round(100 * step / steps, 2))
        epoch = min(int(event["epoch"]) + (event["epoch"] % 1 > 0), self._epochs)
        values = {
            "step": step,
            "current_loss": event["loss"],
            "progress": min(self._progress, 99.99),
            "current_epoch": epoch,
        }
        every = max(1, steps // LINES)
        line = f"Epoch {epoch}/{self._epochs}, step {step}/{steps}: loss {event['loss']:.4f}"
        return values, line if step % every == 0 or step == steps else None
