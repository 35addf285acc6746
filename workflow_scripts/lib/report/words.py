"""Which words of a generated caption the reference does not have."""

import re
from difflib import SequenceMatcher
from typing import NamedTuple

# Chinese and Japanese are written without spaces: there a character is a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
TOKENS = re.compile(rf"[{UNSPACED}]|[^\W{UNSPACED}]+|\s+|[^\w\s]")
MOSTLY = 0.5


class Word(NamedTuple):
    text: str
    wrong: bool


def mark_words(reference: str, generated: str) -> list[Word]:
    """`generated` in pieces that join to it again; `wrong` where the reference has another word in that place.

    A caption that shares less than half of its words with the reference says it in its own way: nothing of
    it is marked.
    """
    found = TOKENS.findall(generated)
    words, right = _words(found), _right(reference, found)
    wrong = words - right if len(words & right) >= MOSTLY * len(words) else set()
    return [Word(token, position in wrong) for position, token in enumerate(found)]


def similarity(reference: str, generated: str) -> float:
    """Share of the generated words that the reference has in the same order, 0 to 1."""
    found = TOKENS.findall(generated)
    words = _words(found)
    return len(words & _right(reference, found)) / max(1, len(words))


def _words(tokens: list[str]) -> set[int]:
    """Positions of the words among the tokens; the others are spaces and punctuation."""
    return {position for position, token in enumerate(tokens) if re.match(r"\w", token)}


def _right(reference: str, found: list[str]) -> set[int]:
    """Positions of the found tokens that the reference has, in its order."""
    wanted = TOKENS.findall(reference.casefold())
    matcher = SequenceMatcher(None, wanted, [token.casefold() for token in found], autojunk=False)
    return {block.b + i for block in matcher.get_matching_blocks() for i in range(block.size)}
