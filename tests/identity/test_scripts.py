"""Which words pass for others."""

import pytest

from llmgate.identity.scripts import mixes_scripts, piles_marks


@pytest.mark.parametrize(
    "name",
    [
        "\u0430dmin",  # a Cyrillic a
        "ad\u03bfmin",  # a Greek o
        "\u0441\u043e\u0440",  # Cyrillic, every letter like a Latin one
        "x.\u0440\u0430\u0441\u0435",  # the same, behind a dot
        "\u03bf\u03bd",  # Greek
        "\u0585\u057d",  # Armenian
        "\u1d00dmin",  # a small capital
        "\u0251dmin",  # phonetics
        "ann\u01c3",  # a click, like an exclamation mark
        "\u0434\u0301ann",  # a mark does not end a word
        "\u0645\u0430",  # Arabic and Cyrillic
    ],
)
def test_deceiving_words(name: str) -> None:
    assert mixes_scripts(name)


@pytest.mark.parametrize(
    "name",
    [
        "ann",
        "zo\u00e9",
        "nguy\u1ec5n",
        "\u0254kwan",
        "\u0438\u0432\u0430\u043d",
        "\u0438\u0432\u0430\u043d@example.org",
        "ivan-\u0438\u0432\u0430\u043d",
        "\u8d75",
        "\u65e5\u672c\u30b2\u30fc\u30c8",
        "llm\u65e5\u672c",
        "\u0639\u0645\u0631\u0661",
        "\u05d3\u05e0\u05d4",
        "\u0928\u092e\u0938\u094d\u0924\u0947",
        "7",
    ],
)
def test_words_as_people_write_them(name: str) -> None:
    assert not mixes_scripts(name)


@pytest.mark.parametrize(
    "name", ["i\u0307", "admi\u0307n", "ann\u0300\u0300", "a\u0301\u0302\u0303\u0304", "zo\u00e9\u0301"]
)
def test_marks_where_marks_are_already(name: str) -> None:
    assert piles_marks(name)


@pytest.mark.parametrize(
    "name", ["ann", "zo\u00e9", "nguy\u1ec5n", "\u1ec7", "i\u0301", "\u0439", "a\u0301\u0302"]
)
def test_marks_as_people_write_them(name: str) -> None:
    assert not piles_marks(name)
