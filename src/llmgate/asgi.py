"""Where servers look for the gate: `uvicorn --factory llmgate.asgi:create_app`."""

from .gate.asgi import create_app

__all__ = ["create_app"]
