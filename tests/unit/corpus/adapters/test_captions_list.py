"""The `captions_list` format."""

import json

import pytest

from tests.unit.corpus.adapters.reading import read
from workflow_scripts.lib.errors import UserError

ROWS = [
    {"video": "video7010.mp4", "caption": ["a tutorial", "화면 녹화"], "more": 1},
    {"id": "폴더/x.y_6_18.avi", "caption": "a horse"},
]


def as_array(rows):
    return json.dumps(rows, ensure_ascii=False, indent=1)


def as_lines(rows):
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


@pytest.mark.parametrize("written", [as_array, as_lines])
def test_rows_of_both_keys_as_array_and_as_lines(tmp_path, written):
    videos, problems = read("captions_list", tmp_path / "a.json", "\ufeff" + written(ROWS))
    assert problems == []
    assert [(v.path, v.id, v.line, [c.text for c in v.captions]) for v in videos] == [
        ("video7010.mp4", "video7010", 1, ["a tutorial", "화면 녹화"]),
        ("폴더/x.y_6_18.avi", "폴더/x.y_6_18", 2, ["a horse"]),
    ]


def test_another_place_and_ending(tmp_path):
    videos, _ = read("captions_list", tmp_path / "a.json", as_array(ROWS), video_path="clips/{stem}.*")
    assert [v.path for v in videos] == ["clips/video7010.*", "clips/폴더/x.y_6_18.*"]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"caption": "x"}, "no `id`; found the keys: caption"),
        ({"video": "a.mp4", "captions": ["x"]}, "no `caption`; found the keys: video, captions"),
        ({"video": "a.mp4", "caption": ["x", 3]}, '`caption` is a text or an array of texts; found ["x", 3]'),
        ({"video": 5, "caption": "x"}, "`video` is a text; found 5"),
        (["a.mp4", "x"], 'a row is an object; found ["a.mp4", "x"]'),
    ],
)
@pytest.mark.parametrize("written", [as_array, as_lines])
def test_a_bad_row_hides_no_other(tmp_path, written, row, what):
    videos, problems = read("captions_list", tmp_path / "a.json", written([ROWS[0], row, ROWS[1]]))
    assert problems == [(2, "bad_row", what)]
    assert [v.line for v in videos] == [1, 3]


def test_a_broken_array_is_told_with_its_line(tmp_path):
    with pytest.raises(UserError, match=r"a\.json:12: not readable as JSON"):
        read("captions_list", tmp_path / "a.json", as_array(ROWS)[:-10])
