"""The gate for any ASGI server."""

from llmgate import asgi
from llmgate.gate.asgi import create_app


def test_the_short_name_is_the_factory_of_the_gate() -> None:
    """`uvicorn --factory llmgate.asgi:create_app`; tests/gate/test_asgi.py serves it."""
    assert asgi.create_app is create_app
    assert asgi.__all__ == ["create_app"]
