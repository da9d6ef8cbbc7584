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
    except (OSError, ValueError) as error:
        is_tls = isinstance(error, ssl.SSLError) or not isinstance(error, OSError)
        why = "no certificates in PEM" if is_tls else error.strerror
        raise ConfigError([f"ca_file: {ca_file}: {why}"]) from error
    return context
