"""How many tokens an answer has used, as far as nobody has counted them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backends.endpoint import Endpoint
from .model import Usage

if TYPE_CHECKING:
    from ..backends.request import ModelRequest
    from .report import Report

BYTES_PER_TOKEN = 4
"""What an estimate takes a token to be: common tokenizers make 3 to 5 bytes of English text."""
LONG_TOKEN = 16
"""Bytes that no text needs for a token on average: more of them than a limit allows prove that it was not kept."""
OPAQUE_TOKENS = 1_000
"""What an estimate takes an image or a recording to be: those of common models are 85 to 5,000."""
SILENT = frozenset({Endpoint.EMBEDDINGS, Endpoint.RERANK, Endpoint.POOLING})
"""Whose answers have no generated text."""


def estimate(
    model_request: ModelRequest,
    text_bytes: int,
    *,
    finished: bool,
    chunks: int = 0,
    generated_bytes: int | None = None,
) -> Usage:
    """A quarter of a token for each byte of the request and of the text that came back in `chunks` pieces.

    A piece is one token at least, and so is an answer that finished, unless its endpoint makes none. The request's
    own limit bounds an estimate unless what has passed proves that it was not kept; `generated_bytes` are those of
    `text_bytes` that are no JSON around the text.
    """
    guess = max(int(finished), chunks, tokens_in(text_bytes))
    proven = max(chunks, (text_bytes if generated_bytes is None else generated_bytes) // LONG_TOKEN)
    bound = _bound(model_request)
    if bound is not None and proven <= bound < guess:
        guess = bound
    return Usage(
        input_tokens=tokens_in(model_request.prompt_bound) + model_request.opaque_parts * OPAQUE_TOKENS,
        output_tokens=0 if model_request.endpoint in SILENT else guess,
    )


def _bound(model_request: ModelRequest) -> int | None:
    """What all choices together may have by the limits in the request; None where one of them may mean none."""
    limits = model_request.limits.values()
    if not limits or min(limits) <= 0:
        return None
    return max(limits) * model_request.choices


def tokens_in(size: int) -> int:
    """Estimated tokens of `size` bytes of text, rounded up."""
    return -(-size // BYTES_PER_TOKEN)


def weigh(report: Report, estimated: Usage, *, silent: bool) -> tuple[Usage, bool]:
    """What was used: by the report, and by the estimate for what it leaves out; whether it leaves nothing out."""
    output_tokens = 0 if silent else estimated.output_tokens
    usage = report.usage(input_tokens=estimated.input_tokens, output_tokens=output_tokens)
    return usage, report.input is not None and (silent or report.output is not None)
