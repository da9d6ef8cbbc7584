"""Paths by which engines are changed: they load files, write them, or answer differently for everybody afterwards.

No route lets them through, whatever its `allow` says: who may ask a model must not thereby be able to make its
engine read any file of its host. The gate's own calls to them do not go through a relay.
"""

from __future__ import annotations

import re
from typing import Final

REFUSED: Final = "What changes an engine does not pass here, whatever a route allows."
NAMES: Final = (
    # vLLM: adapters at run time, and what its development mode opens
    "load_lora_adapter",
    "unload_lora_adapter",
    "collective_rpc",
    "update_weights",
    "init_weight_transfer_engine",
    "start_profile",
    "stop_profile",
    "reset_prefix_cache",
    "reset_mm_cache",
    "sleep",
    "wake_up",
    "scale_elastic_ep",
    # llama.cpp's server: scales for everybody, caches written to files, models loaded from them
    "lora-adapters",
    "slots",
    "models/load",
    "models/unload",
    # text-generation servers with adapters
    "adapters",
)
_CONTROL: Final = re.compile(
    rb"/(?:v1/)?(?:%s)(?:/.*)?" % b"|".join(re.escape(name.encode()) for name in NAMES),
    re.DOTALL | re.IGNORECASE,
)
_ENCODED: Final = re.compile(rb"%([0-9A-Fa-f]{2})")


def controls_engine(path: bytes) -> bool:
    """Whether an upstream's path, however it is spelled, is one of these. `path` has no dot segments."""
    plain = _ENCODED.sub(lambda match: bytes([int(match[1], 16)]), path.partition(b"?")[0])
    return _CONTROL.fullmatch(re.sub(rb"/+", b"/", plain)) is not None
