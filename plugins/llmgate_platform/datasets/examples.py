"""The lines of a data set: four formats, told apart line by line, checked before anything is trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

MAX_LINE = 1_000_000
"""Bytes of one line."""
MIN_TO_SPLIT = 50
"""Examples that a data set needs before a tenth of it is held out for evaluation."""

ROLES = ("system", "user", "assistant", "tool")
FORMATS = "prompt and completion, instruction and output, messages, or text"


class BadExample(ValueError):
    """A line that is no example: its number and what is wrong with it."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")


def read_examples(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The lines that are examples, without their ends; empty ones are left out. Raises `BadExample`."""
    for number, line in enumerate(lines, start=1):
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")  # noqa: PLW2901 - editors put the mark there
        if not line.strip():
            continue
        if problem := problem_of(line):
            raise BadExample(number, problem)
        yield line.rstrip(b"\r\n")


def problem_of(line: bytes) -> str | None:
    """What is wrong with a line, if anything."""
    if len(line) > MAX_LINE:
        return f"longer than {MAX_LINE:,} bytes"
    try:
        row = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "not JSON"
    if not isinstance(row, dict):
        return "not a JSON object"
    if "messages" in row:
        return _problem_of_messages(row["messages"])
    for learnt, given in (("completion", "prompt"), ("output", "instruction"), ("text", None)):
        if learnt in row:
            return _problem_of_texts(row, learnt, given)
    return f"none of the known formats: {FORMATS}"


def _problem_of_texts(row: dict[str, Any], learnt: str, given: str | None) -> str | None:
    for name in filter(None, (given, learnt)):
        if not isinstance(row.get(name), str):
            return f"{name} is not text" if name in row else f"{name} is missing"
    if not isinstance(row.get("input") or "", str):
        return "input is not text"
    return None if row[learnt].strip() else f"{learnt} is empty"


def _problem_of_messages(messages: object) -> str | None:
    if not isinstance(messages, list) or not messages:
        return "messages is not a list with messages"
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return "a message has no content that is text"
        if message.get("role") not in ROLES:
            return f"a message's role is none of {', '.join(ROLES)}"
    if not any(message["role"] == "assistant" and message["content"].strip() for message in messages):
        return "messages has no answer of the assistant"
    return None


def prompt_and_reference(line: bytes) -> tuple[str, str]:
    """What an example asks and what it expects, as the trainer puts them.

    Chats are put as "role: content" lines, since a completion has no template; the second half of a plain text
    is what the first half expects.
    """
    row = msgspec.json.decode(line)
    if "messages" in row:
        messages = row["messages"]
        last = max(at for at, message in enumerate(messages) if message["role"] == "assistant")
        asked = "".join(f"{message['role']}: {message['content']}\n" for message in messages[:last])
        return f"{asked}assistant:", " " + messages[last]["content"]
    if "completion" in row:
        return row["prompt"], row["completion"]
    if "output" in row:
        asked = "".join(f"# {line}\n" for line in row["instruction"].splitlines())
        given, output = row.get("input") or "", row["output"]
        if given and output.startswith(given):
            return asked + given, output[len(given) :]
        return asked + (given + "\n" if given else ""), output
    text = row["text"]
    middle = text.find(" ", len(text) // 2)
    middle = len(text) // 2 if middle < 0 else middle
    return text[:middle], text[middle:]


def held_out(line: bytes) -> bool:
    """Whether an example belongs to the tenth that is held out: by its own hash, so it is the same tenth everywhere."""
    return hashlib.sha256(line).digest()[0] < 26
