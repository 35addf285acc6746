"""The words of the synthetic corpus: what its captions say, in English and Korean.

Each attribute has a word in both languages. No attribute word is part of another one of its language, nor of
the rest of a sentence, so that finding the word in a caption means that the caption says it.
"""

LANGUAGES = ("en", "ko")

COLOURS = {
    "red": "빨간",
    "orange": "주황색",
    "yellow": "노란",
    "green": "초록색",
    "cyan": "청록색",
    "blue": "파란",
    "purple": "보라색",
    "pink": "분홍색",
}
# The second word of a Korean shape is its subject particle, which depends on the last sound.
SHAPES = {
    "circle": ("원", "이"),
    "square": ("사각형", "이"),
    "triangle": ("삼각형", "이"),
    "star": ("별", "이"),
    "cross": ("십자가", "가"),
    "ring": ("고리", "가"),
}
DIRECTIONS = {"left": "왼쪽", "right": "오른쪽", "up": "위쪽", "down": "아래쪽"}
# "checked", not "checkered": that one holds the word "red".
BACKGROUNDS = {"plain": "민무늬", "striped": "줄무늬", "checked": "체크무늬", "dotted": "물방울무늬"}


def captions(colour: str, shape: str, direction: str, background: str) -> list[dict]:
    """The caption of a moment in each language: dicts of lang, text and attributes."""
    article = "an" if colour[0] in "aeiou" else "a"
    korean_shape, particle = SHAPES[shape]
    korean = {"colour": COLOURS[colour], "shape": korean_shape, "direction": DIRECTIONS[direction]}
    return [
        {
            "lang": "en",
            "text": f"{article} {colour} {shape} moves {direction} over a {background} background",
            "attributes": {"colour": colour, "shape": shape, "direction": direction},
        },
        {
            "lang": "ko",
            "text": (
                f"{BACKGROUNDS[background]} 배경 위에서 {korean['colour']} {korean_shape}{particle} "
                f"{korean['direction']}으로 움직인다"
            ),
            "attributes": korean,
        },
    ]
