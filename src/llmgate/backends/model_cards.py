"""The cards in a list of models, as every server of OpenAI's API sends it."""

from __future__ import annotations

from typing import Any

import msgspec

Card = dict[str, Any]


class _List(msgspec.Struct):
    data: list[Card] | None = None  # null at an Ollama without models


def cards_of(body: bytes) -> list[Card]:
    """The cards of the models in `body`, each with an `id`. Raises `ValueError` for anything but such a list."""
    try:
        cards = msgspec.json.decode(body, type=_List).data or []
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"no list of models: {error}") from error
    if not all(isinstance(card.get("id"), str) for card in cards):
        raise ValueError("no list of models: a model without an id")
    return cards
