"""How long a model's context is, by whoever knows."""

import pytest

from llmgate.backends.serving import Serving


class Says:
    """A backend that says how long the context of one model is, and has been asked or not."""

    was_read = True

    async def __call__(self, model: str) -> int | None:
        return {"small": 2048}.get(model)

    def read(self, model: str) -> int | None:
        if not self.was_read:
            raise LookupError
        return {"small": 2048}.get(model)


async def test_what_the_operator_says_of_a_context_counts_first() -> None:
    serving = Serving(context_length=4096, context=Says())
    assert (await serving.context_of("small"), serving.context_read("small")) == (4096, 4096)


async def test_else_the_backend_is_asked_for_the_model() -> None:
    serving = Serving(context=Says())
    assert (await serving.context_of("small"), serving.context_read("small")) == (2048, 2048)
    assert (await serving.context_of("other"), serving.context_read("other")) == (None, None)


async def test_what_was_not_read_is_not_known_without_waiting() -> None:
    backend = Says()
    backend.was_read = False
    with pytest.raises(LookupError):
        Serving(context=backend).context_read("small")


async def test_where_nobody_knows_it_is_not_known() -> None:
    assert (await Serving().context_of("small"), Serving().context_read("small")) == (None, None)
