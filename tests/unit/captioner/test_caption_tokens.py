import subprocess
import sys

import pytest

from workflow_scripts.lib.captioner.tokens import tokens, unit_of


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "en",
            "Don't stop: a well-known “cat's” toys.",
            ["don't", "stop", "a", "well-known", "cat's", "toys"],
        ),
        ("hi", "हिन्दी में।", ["हिन्दी", "में"]),  # vowel signs are no letters to \w
        ("zh-Hans", "一只猫，在 A。", ["一", "只", "猫", "在", "a"]),
        ("ko", "빨간 원이, 움직인다!", ["빨갛", "ᆫ", "원", "이", "움직이", "ᆫ다"]),
        ("ko", "CCTV 앞의 3명", ["cctv", "앞", "의", "3", "명"]),
        ("en", " ... ", []),
        ("ko", "", []),
    ],
)
def test_tokens(language, text, expected):
    assert tokens([text, text], language) == [expected, expected]


def test_a_korean_particle_is_a_token_of_its_own():
    subject, bare = tokens(["고양이가", "고양이"], "ko")
    assert subject[0] == bare[0] and len(subject) == 2


def test_composed_and_decomposed_text_is_the_same():
    one, other = tokens(["\u00e9t\u00e9", "e\u0301te\u0301"], "fr")
    assert one == other


def test_units():
    assert [unit_of(name) for name in ("en", "ko-KR", "ja", "ar")] == [
        "words",
        "morphemes",
        "characters",
        "words",
    ]


def test_the_korean_analyser_is_loaded_where_there_is_korean_only():
    code = (
        "import sys; from workflow_scripts.lib.captioner.tokens import tokens; tokens(['a cat'], 'en');"
        "sys.exit('kiwipiepy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
