"""What a trainer's events mean for its job."""

from typing import Any

from stores import Clock

from llmgate_platform.training.progress import LINES, Progress

STARTED = {"event": "started", "step": 0, "steps": 100, "examples": 7, "gpus": 0, "cpu": 2.0, "seconds": 3.0}


def step(number: int, **more: Any) -> dict[str, Any]:
    return {"event": "step", "step": number, "steps": 100, "epoch": number / 50, "loss": 2.5, **more}


def follow(clock: Clock, *events: dict[str, Any], progress: float = 0.0) -> tuple[dict[str, Any], list[str]]:
    return Progress(clock, epochs=2, progress=progress).add(events)


def test_a_step_moves_progress_epoch_and_loss(clock: Clock) -> None:
    values, lines = follow(clock, STARTED, step(51, cpu=5.0))
    assert values == {
        "steps": 100,
        "device": "cpu",
        "step": 51,
        "current_loss": 2.5,
        "progress": 51.0,
        "current_epoch": 2,
        "spent": 5.0,
    }
    assert lines == ["[2027-01-15 08:00:00] Training on CPU: 7 examples, from step 0 of 100 on."]


def test_the_last_step_of_an_epoch_belongs_to_it(clock: Clock) -> None:
    assert follow(clock, step(50))[0]["current_epoch"] == 1
    assert follow(clock, step(100))[0]["current_epoch"] == 2


def test_progress_never_falls(clock: Clock) -> None:
    """A trainer that was killed goes on from its last checkpoint."""
    assert follow(clock, step(20), progress=30.0)[0]["progress"] == 30.0


def test_only_the_result_makes_it_whole(clock: Clock) -> None:
    assert follow(clock, step(100))[0]["progress"] == 99.99


def test_gpus_are_paid_by_their_seconds(clock: Clock) -> None:
    events = [{**STARTED, "gpus": 2}, step(1, cpu=50.0, seconds=13.0), step(2, cpu=90.0, seconds=23.0)]
    assert follow(clock, *events)[0]["spent"] == 46.0


def test_what_was_told_is_paid_once(clock: Clock) -> None:
    progress = Progress(clock, epochs=2, progress=0.0)
    assert progress.add([STARTED])[0]["spent"] == 2.0
    assert progress.add([step(1, cpu=2.5)])[0]["spent"] == 0.5


def test_a_log_has_a_bounded_number_of_lines_about_steps(clock: Clock) -> None:
    events = [{**step(number), "steps": 10_000} for number in range(1, 10_001)]
    assert len(follow(clock, *events)[1]) == LINES


def test_the_log_tells_of_checkpoints_and_held_out_losses(clock: Clock) -> None:
    _, lines = follow(
        clock, {"event": "saved", "step": 3}, {"event": "evaluated", "step": 4, "loss": 1.23456}
    )
    assert [line.partition("] ")[2] for line in lines] == [
        "Checkpoint at step 3.",
        "Loss on held-out examples at step 4: 1.2346",
    ]


def test_a_failure_is_kept_in_the_trainers_words(clock: Clock) -> None:
    progress = Progress(clock, epochs=2, progress=0.0)
    progress.add([{"event": "failed", "error": "why"}])
    assert progress.reason == "why"


def test_events_that_nobody_knows_are_passed_over(clock: Clock) -> None:
    assert follow(clock, {"event": "weather"}) == ({"spent": 0.0}, [])
