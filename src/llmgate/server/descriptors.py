"""How many file descriptors this process may have: what bounds its connections before any setting does."""

from __future__ import annotations

import logging
import resource

log = logging.getLogger("llmgate")


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard one, as Go's programs and nginx do; returns what holds from now on.

    A shell's soft limit of 1,024 is there for programs that use select(), which this one does not.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:  # macOS has a limit below an unlimited hard one
            log.warning("the limit of file descriptors stays at %d: %s", soft, error)
            return soft
    return hard if hard != resource.RLIM_INFINITY else 1 << 30
