"""From OpenAI's answers to the guide's: whole chats to `content`, streams to lines of text. Sans-IO.

A chunk's text goes out as one server-sent event. Its lines become `data:` lines of that event, as the
standard has it, so that an EventSource puts the same text together again; the guide's own client, which
prints what comes after `data: ` line by line, loses the line breaks and nothing else. Text that reads
`[DONE]` is divided between two events: only the end of the stream may say so.
"""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw, Struct, field

from llmgate.plugin.api import (
    AnswerCut,
    BadRequest,
    EventSplitter,
    NotFound,
    Refusal,
    UpstreamFailed,
    data_of,
)

DONE = b"[DONE]"
END = b"data: [DONE]\n\n"

_INSIDE_DONE = re.compile(r"(?<=\[DONE)(?=\])")
_LINE_END = re.compile(r"\r\n|\r|\n")


class _Said(Struct):
    content: str | None = None


class _Choice(Struct):
    message: _Said = field(default_factory=_Said)
    delta: _Said = field(default_factory=_Said)
    finish_reason: str | None = None


class _Completion(Struct):
    """A chat completion, or a chunk of one (https://platform.openai.com/docs/api-reference/chat)."""

    choices: list[_Choice] = field(default_factory=list)
    error: Raw | None = None


class _ErrorText(Struct):
    message: str


class _Error(Struct):
    """An error as OpenAI writes it, or as Ollama and FastAPI write theirs."""

    error: _ErrorText | str | None = None
    message: str | None = None
    detail: str | None = None


def content_of(body: bytes) -> tuple[str, str | None]:
    """What a whole chat says, and why it ended. Raises `UpstreamFailed` if it is none."""
    try:
        choice = msgspec.json.decode(body, type=_Completion).choices[0]
    except (msgspec.MsgspecError, IndexError) as error:
        raise UpstreamFailed("The deployment's answer is not a chat completion.") from error
    return choice.message.content or "", choice.finish_reason


def refusal_of(status: int, body: bytes) -> Refusal:
    """What the guide's client is told about an error of the upstream."""
    said = _message(body)
    match status:
        case 404:
            return NotFound(said or "The deployment does not have the model.")
        case 400 | 413 | 422:
            return BadRequest(said or "The deployment cannot read the request.")
        case 200:
            return UpstreamFailed("The deployment's answer is not of the kind that was asked for.")
        case 429:
            return Refusal(said or "The deployment has too much to do. Try again later.", status=429)
        case _:
            return UpstreamFailed(f"The deployment answered with status {status}.")


class Texts:
    """Reads a stream of chat chunks, writes the guide's. `done` once it has said that nothing more is to come."""

    def __init__(self) -> None:
        self._events = EventSplitter()
        self.done = False

    def feed(self, data: bytes) -> bytes:
        """What to send for what has arrived. Raises `AnswerCut` at an error, or at what is no chunk."""
        return b"".join(map(self._translated, self._events.feed(data)))

    def _translated(self, event: bytes) -> bytes:
        data = data_of(event)
        if data is None or self.done:
            return b""
        if data == DONE:
            self.done = True
            return END
        try:
            chunk = msgspec.json.decode(data, type=_Completion)
        except msgspec.MsgspecError as error:
            raise AnswerCut("the upstream's stream holds what is not a chat chunk") from error
        if chunk.error is not None:
            raise AnswerCut("the upstream's stream ends in an error")
        return events_of("".join(choice.delta.content or "" for choice in chunk.choices))


def events_of(text: str) -> bytes:
    """The events that say `text`; none for none."""
    return "".join(map(_event, _INSIDE_DONE.split(text))).encode() if text else b""


def _event(text: str) -> str:
    return "data: " + "\ndata: ".join(_LINE_END.split(text)) + "\n\n"


def _message(body: bytes) -> str | None:
    try:
        said = msgspec.json.decode(body, type=_Error)
    except msgspec.MsgspecError:
        return None
    error = said.error.message if isinstance(said.error, _ErrorText) else said.error
    return error or said.message or said.detail
