"""Whose certificates an upstream may have."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from ...errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path


def trusting(ca_file: Path) -> ssl.SSLContext:
    """The system's trust, and the authorities in `ca_file` (PEM) beside it. Raises `ConfigError`."""
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(ca_file)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError([f"ca_file: {ca_file}: no certificates in PEM"]) from error
    except OSError as error:
        raise ConfigError([f"ca_file: {ca_file}: {error.strerror}"]) from error
    return context
