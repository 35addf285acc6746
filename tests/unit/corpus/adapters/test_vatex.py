"""The `vatex` format."""

import json

import pytest
from pydantic import ValidationError

from tests.unit.corpus.adapters.reading import read

ROWS = [
    {"videoID": "-x_Gsk_bgI0_000055_000065", "enCap": ["A man.", "A boot."], "chCap": ["一个男人", "靴子"]},
    {"videoID": "uaoC__dKucA_000518_000528", "enCap": ["A woman."]},
]


def annotations(folder, rows=ROWS, **options):
    return read("vatex", folder / "vatex.json", json.dumps(rows), **options)


def test_clips_with_captions_in_both_languages(tmp_path):
    (first, second), problems = annotations(tmp_path)
    assert problems == []
    assert (first.path, first.id) == ("-x_Gsk_bgI0_000055_000065.*", "-x_Gsk_bgI0_000055_000065")
    assert (first.source, first.duration_s, first.start_s, first.end_s) == ("-x_Gsk_bgI0", 10, None, None)
    assert [(c.text, c.language) for c in first.captions] == [
        ("A man.", "en"),
        ("A boot.", "en"),
        ("一个男人", "zh"),
        ("靴子", "zh"),
    ]
    assert (second.source, [c.language for c in second.captions]) == ("uaoC__dKucA", ["en"])


def test_one_language_of_the_two(tmp_path):
    (first, second), problems = annotations(tmp_path, languages=["zh"])
    assert problems == []
    assert [c.text for c in first.captions] == ["一个男人", "靴子"]
    assert second.captions == []  # the checks make a no_caption of it


def test_files_that_are_not_cut(tmp_path):
    (first, _), _ = annotations(tmp_path, cut=False)
    assert (first.path, first.start_s, first.end_s) == ("-x_Gsk_bgI0.*", 55, 65)
    (first, _), _ = annotations(tmp_path, cut=False, video_path="원본/{youtube}.mkv")
    assert first.path == "원본/-x_Gsk_bgI0.mkv"


def test_no_other_languages(tmp_path):
    with pytest.raises(ValidationError):
        annotations(tmp_path, languages=["ko"])


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"enCap": ["x"]}, "no `videoID`; found the keys: enCap"),
        (
            {"videoID": "abc_55", "enCap": ["x"]},
            "a videoID is {youtube}_{start}_{end}; found 'abc_55'",
        ),
        ({"videoID": "abc_1_2", "enCap": [["x"]]}, '`enCap` is a text or an array of texts; found [["x"]]'),
    ],
)
def test_a_bad_row_hides_no_other(tmp_path, row, what):
    videos, problems = annotations(tmp_path, [ROWS[0], row, ROWS[1]])
    assert problems == [(2, "bad_row", what)]
    assert len(videos) == 2
