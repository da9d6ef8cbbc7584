"""How many tokens an answer has used, as far as nobody has counted them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import structs

from ..backends.endpoint import Endpoint
from .model import Usage

if TYPE_CHECKING:
    from ..backends.request import ModelRequest
    from .report import Report

BYTES_PER_TOKEN = 4
"""What an estimate takes a token to be: common tokenizers make 3 to 5 bytes of English text."""
LONG_TOKEN = 16
"""Bytes that no text needs for a token on average: more of them than a limit allows prove that it was not kept."""
LONGEST_TOKENS = 128
"""Bytes that no tokens have on average: text that is longer proves a report of fewer tokens wrong."""
OPAQUE_TOKENS = 1_000
"""What an estimate takes an image or a recording to be: those of common models are 85 to 5,000."""
SILENT = frozenset({Endpoint.EMBEDDINGS, Endpoint.RERANK, Endpoint.POOLING})
"""Whose answers have no generated text."""
_TALKS = frozenset({Endpoint.CHAT, Endpoint.RESPONSES, Endpoint.MESSAGES})
"""Whose prompts have tokens at any rate: those of their template."""


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


def believed(report: Report, model_request: ModelRequest, text_bytes: int, *, finished: bool) -> Report:
    """`report` without the numbers that `text_bytes` of generated text, or the prompt, prove wrong.

    Such are placeholders (zeros, in the last event, too), and counts of single chunks where they are not added up.
    Zeros of an answer that `finished` and is empty are believed. An echo of the prompt is text that was not
    generated. A total of both counts alone does not say how much of it is which.
    """
    if model_request.endpoint in SILENT:
        return structs.replace(report, input=None) if report.input == 0 else report
    input_tokens, output_tokens = report.input, report.output
    if report.undivided and input_tokens is not None:
        total, known = input_tokens, tokens_in(model_request.prompt_bound)
        return structs.replace(report, input=min(known, total), output=max(0, total - known), guessed=True)
    if output_tokens is not None and not model_request.echoes:
        too_few = text_bytes > 0 if output_tokens == 0 else output_tokens < text_bytes // LONGEST_TOKENS
        if too_few:
            output_tokens = None
    if input_tokens == 0 and (output_tokens is None or model_request.endpoint in _TALKS):
        input_tokens = 0 if finished and output_tokens == 0 else None
    if (input_tokens, output_tokens) == (report.input, report.output):
        return report
    return structs.replace(report, input=input_tokens, output=output_tokens)


def weigh(report: Report, estimated: Usage, *, silent: bool) -> tuple[Usage, bool]:
    """What was used: by the report, and by the estimate for what it leaves out; whether it leaves nothing out."""
    output_tokens = 0 if silent else estimated.output_tokens
    usage = report.usage(input_tokens=estimated.input_tokens, output_tokens=output_tokens)
    is_whole = report.input is not None and (silent or report.output is not None)
    return usage, is_whole and not report.guessed
