"""Serving a gate: uvicorn on every address, signals, reload, shutdown."""

from .run import serve

__all__ = ["serve"]
