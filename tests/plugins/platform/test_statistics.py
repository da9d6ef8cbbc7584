"""Numbers of the platform, and its health."""

from llmgate_platform.statistics import Counts

from .gate import CODING, PlatformGate, finish


async def test_health(platform: PlatformGate) -> None:
    assert await platform.get("/health") == {
        "status": "healthy",
        "timestamp": "2027-01-15T08:00:00.000000",
        "version": "1.0.0",
    }


async def test_statistics_count_what_there_is(platform: PlatformGate) -> None:
    ada = await platform.register()
    for _ in range(2):
        await ada.post("/training/coding", CODING)
    await finish(platform)
    assert (await ada.generate()).status_code == 200
    await ada.generate(prompt="")
    await ada.post("/models/1/evaluate", {"samples": 1})
    assert await platform.get("/statistics") == {
        "total_models": 2,
        "total_training_jobs": 2,
        "running_training_jobs": 0,
        "completed_training_jobs": 1,
        "total_evaluations": 1,
        "total_generations": 1,
        "timestamp": "2027-01-15T08:00:00.000000",
    }


async def test_a_large_ledger_is_not_counted_for_each_who_asks(platform: PlatformGate) -> None:
    services, now = platform.running.gate.services, [0.0]
    counts = Counts(services.store, services.reports, timer=lambda: now[0])
    ada = await platform.register()

    async def generations() -> int:
        return (await counts.statistics(None)).total_generations  # type: ignore[arg-type]

    assert await generations() == 0
    await ada.generate()
    assert await generations() == 0
    now[0] += 5
    assert await generations() == 1
