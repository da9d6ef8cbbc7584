"""What all parts of the surface share: how the guide writes errors."""

from __future__ import annotations

from llmgate.plugin.api import UpstreamFailed, detail_shape
from llmgate.plugin.kit.shapes import with_statuses

guides_shape = with_statuses(detail_shape, {UpstreamFailed: 500})
"""Errors as the guide's clients know them; a deployment that does not answer is a server error."""
