"""Where the gate's own messages go."""

from __future__ import annotations

import logging

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def log_to_stderr() -> None:
    """What the gate reports goes to stderr, of its libraries only warnings; stdout has the access log."""
    logging.basicConfig(level=logging.WARNING, format=LOG_FORMAT)
    logging.getLogger("llmgate").setLevel(logging.INFO)
