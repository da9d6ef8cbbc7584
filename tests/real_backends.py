"""A real llama.cpp server with SmolLM2-135M for tests. Skipped where it is not installed; a failure where CI is set."""

import os
from collections.abc import Iterator

import pytest

from llmgate.tools.demo.process import missing_packages, running_backend


def require_backend() -> None:
    """Skip the test, or fail it where CI is set, if the backend cannot be started."""
    if missing := missing_packages():
        reason = f"not installed: {', '.join(missing)} (make test installs them)"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a real llama.cpp server: model `smollm2`, two requests at once of 1024 tokens each."""
    require_backend()
    with running_backend(log=tmp_path_factory.mktemp("llama") / "backend.log", context=1024) as url:
        yield url
