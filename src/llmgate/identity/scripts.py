"""Words that look like others: letters of several scripts in one, or letters that all look like Latin ones.

After Unicode's UTS 39 (5.2, "highly restrictive") and what browsers do to names of hosts. The script of a letter is the
first word of its name in Unicode, which holds for the scripts that have look-alikes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import groupby
from types import MappingProxyType
from typing import Final

TOGETHER: Final = (
    frozenset({"LATIN", "CJK", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "CJK", "BOPOMOFO"}),
    frozenset({"LATIN", "CJK", "HANGUL"}),
)
"""Scripts that are written together."""

_SAME: Final = MappingProxyType(
    {
        "IDEOGRAPHIC": "CJK",
        "KATAKANA-HIRAGANA": "KATAKANA",
        "ARABIC-INDIC": "ARABIC",
        "EXTENDED": "ARABIC",
    }
)

LIKE_LATIN: Final = frozenset(
    "асԁеһіјӏорԗԛѕԝхуҽпгѵѡк"  # Cyrillic
    "ονρυικ"  # Greek
    "օսոցհյ"  # Armenian
)
"""Small letters that are drawn like Latin ones."""

PLAIN_LATIN: Final = frozenset("ɓɔɖɗəɛɣɨɩɲɵʃʉʊʋʒ")
"""Latin letters of living alphabets outside of the blocks that are taken whole."""

CLICKS: Final = frozenset("ǀǁǂǃ")
"""Latin letters that are drawn like signs."""

_ODD_MARKS: Final = re.compile(r"[ij]\u0307|([\u0300-\u036f])\1|[\u0300-\u036f]{4}")
"""The dot of an i that has one, a mark twice, and heaps of them: nobody sees how many there are."""


def piles_marks(name: str) -> bool:
    """Whether marks of `name` are drawn where others are already."""
    return _ODD_MARKS.search(unicodedata.normalize("NFD", name)) is not None


def mixes_scripts(name: str) -> bool:
    """Whether one of the words of `name`, in small letters, may pass for another one."""
    return not name.isascii() and any(map(_deceives, _words(name)))


def _words(name: str) -> Iterator[str]:
    """What stands between signs and spaces: letters, with their marks, and digits."""
    for inside, letters in groupby(name, lambda letter: unicodedata.category(letter)[0] in "LMN"):
        if inside:
            yield "".join(letters)


def _deceives(word: str) -> bool:
    letters = [letter for letter in word if not letter.isascii()]
    if any(_is_odd_latin(letter) for letter in letters):
        return True
    scripts = {"LATIN"} if any(letter.isascii() and letter.isalpha() for letter in word) else set()
    scripts |= {_script(letter) for letter in letters} - {""}
    if len(scripts) > 1:
        return not any(scripts <= together for together in TOGETHER)
    return bool(letters) and LIKE_LATIN.issuperset(letters)


def _script(letter: str) -> str:
    """Of a letter or digit; "" for marks, which go with any."""
    if unicodedata.category(letter)[0] == "M":
        return ""
    first = unicodedata.name(letter, "").partition(" ")[0]
    return _SAME.get(first, first)


def _is_odd_latin(letter: str) -> bool:
    """A letter of phonetics, such as the small capitals: drawn like a plain one."""
    if not unicodedata.name(letter, "").startswith(("LATIN", "MODIFIER")):
        return False
    return letter in CLICKS or not (
        letter <= "\u024f" or "\u1e00" <= letter <= "\u1eff" or letter in PLAIN_LATIN
    )
