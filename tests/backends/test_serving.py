"""How long a model's context is, by whoever knows."""

from llmgate.backends.serving import Serving


async def says(model: str) -> int | None:
    return {"small": 2048}.get(model)


async def test_what_the_operator_says_of_a_context_counts_first() -> None:
    assert await Serving(context_length=4096, context=says).context_of("small") == 4096


async def test_else_the_backend_is_asked_for_the_model() -> None:
    serving = Serving(context=says)
    assert await serving.context_of("small") == 2048
    assert await serving.context_of("other") is None


async def test_where_nobody_knows_it_is_not_known() -> None:
    assert await Serving().context_of("small") is None
