"""Texts as the words that metrics count, by language and without a download.

Words where spaces part them: lower-cased, without punctuation. The tokenizer of published captioning results (Stanford's
PTB, a Java program) is near to that and not the same, so their numbers can differ a little. Korean: morphemes by
kiwipiepy, whose model comes with the package, since particles are written to the words. Other languages without spaces:
characters.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from typing import Literal

Unit = Literal["words", "morphemes", "characters"]
BY_CHARACTER = {"zh", "yue", "ja", "th", "km", "lo", "my", "bo", "dz"}
# of kiwipiepy's tags, those of punctuation and symbols; numbers, Latin letters and Chinese characters are kept
KOREAN_MARKS = {"SF", "SP", "SS", "SSO", "SSC", "SE", "SO", "SW", "SB"}


def unit_of(language: str) -> Unit:
    """What a language's texts are split into."""
    name = language.split("-")[0]
    return "morphemes" if name == "ko" else "characters" if name in BY_CHARACTER else "words"


def tokens(texts: Sequence[str], language: str) -> list[list[str]]:
    """Each text as tokens."""
    unit = unit_of(language)
    if unit == "morphemes":
        return [_morphemes(text) for text in texts]
    split = _words if unit == "words" else _characters
    return [split(unicodedata.normalize("NFC", text).lower()) for text in texts]


def _words(text: str) -> list[str]:
    """A hyphen or an apostrophe inside a word is a part of it."""
    spaced = "".join(" " if char not in "-'’" and _is_mark(char) else char for char in text)
    return [word for part in spaced.split() if (word := part.strip("-'’"))]


def _characters(text: str) -> list[str]:
    return [char for char in text if not (char.isspace() or _is_mark(char))]


def _is_mark(char: str) -> bool:
    """Punctuation or a symbol."""
    return unicodedata.category(char)[0] in "PS"


def _morphemes(text: str) -> list[str]:
    # a name of several words in the dictionary is one token with spaces in it
    return [
        part
        for token in _kiwi().tokenize(unicodedata.normalize("NFC", text).lower())
        if token.tag not in KOREAN_MARKS
        for part in token.form.split()
    ]


@cache
def _kiwi():
    """Loaded once, and only where there is Korean: it takes a second and some hundred megabytes."""
    from kiwipiepy import Kiwi

    return Kiwi(num_workers=1)
