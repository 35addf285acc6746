"""The `activitynet` format."""

import json

import pytest

from tests.unit.corpus.adapters.reading import moments, read
from workflow_scripts.lib.errors import UserError

ROWS = {
    "v_aaaaaaaaaaa": {
        "duration": 55.15,
        "timestamps": [[0, 12.5], [10.28, 55.2]],
        "sentences": ["A man lifts a weight.", " 그는 역기를 내려놓는다."],
    },
    "v_-b_bbbbbbbb": {"duration": 9, "timestamps": [[1, 2]], "sentences": [" A dog runs."]},
}


def annotations(folder, rows, **options):
    text = rows if isinstance(rows, str) else json.dumps(rows, ensure_ascii=False)
    return read("activitynet", folder / "주석.json", text, **options)


def test_videos_with_their_moments(tmp_path):
    (first, second), problems = annotations(tmp_path, ROWS)
    assert problems == []
    assert (first.path, first.id, first.duration_s, first.line) == (
        "v_aaaaaaaaaaa.*",
        "v_aaaaaaaaaaa",
        55.15,
        1,
    )
    assert first.split is first.start_s is first.end_s is None
    # a moment a little over the duration is left to the checks, which know how much is too much
    assert moments(first) == [("A man lifts a weight.", 0, 12.5), ("그는 역기를 내려놓는다.", 10.28, 55.2)]
    assert (second.path, second.line, moments(second)) == ("v_-b_bbbbbbbb.*", 2, [("A dog runs.", 1, 2)])


def test_path_without_the_prefix(tmp_path):
    videos, _ = annotations(tmp_path, ROWS, video_path="활동/{youtube}.mkv")
    assert [video.path for video in videos] == ["활동/aaaaaaaaaaa.mkv", "활동/-b_bbbbbbbb.mkv"]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ({"timestamps": [[0, 1], [1, 2], [2, 3]], "sentences": ["a", "b"]}, "3 timestamps, but 2 sentences"),
        ({"timestamps": [[0, 1]], "sentences": ["a", "b"]}, "1 timestamps, but 2 sentences"),
        ({"sentences": ["a"]}, "`timestamps` is an array; found null"),
        ({"timestamps": [[0]], "sentences": ["a"]}, "a timestamp is [start, end]; found [0]"),
        ({"timestamps": [[0, None]], "sentences": ["a"]}, "a timestamp is [start, end]; found [0, null]"),
        ({"timestamps": [[0, "x"]], "sentences": ["a"]}, "a number of seconds is expected, found 'x'"),
        ({"timestamps": [[0, 1]], "sentences": [3]}, "`sentences` is a text or an array of texts; found [3]"),
        ({"timestamps": [], "sentences": [], "duration": []}, "a number of seconds is expected, found []"),
        ("no object", 'a row is an object; found "no object"'),
    ],
)
def test_bad_video_hides_no_other(tmp_path, row, what):
    videos, problems = annotations(tmp_path, {"v_bad": row, **ROWS})
    assert problems == [(1, "bad_row", what)]
    assert [video.line for video in videos] == [2, 3]


def test_video_without_a_name(tmp_path):
    videos, problems = annotations(tmp_path, {" ": ROWS["v_aaaaaaaaaaa"]})
    assert (videos, [problem[:2] for problem in problems]) == ([], [(1, "no_video")])


def test_a_video_that_is_there_twice_is_not_dropped(tmp_path):
    row = json.dumps(ROWS["v_aaaaaaaaaaa"])
    videos, _ = annotations(tmp_path, f'{{"v_a": {row}, "v_a": {row}}}')
    assert [video.path for video in videos] == ["v_a.*", "v_a.*"]


@pytest.mark.parametrize("text", ["[]", "{", ""])
def test_another_document_is_refused_with_its_name(tmp_path, text):
    with pytest.raises(UserError, match=r"주석\.json"):
        annotations(tmp_path, text)


def test_unknown_field_of_the_path_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"needs name; the rows have id, youtube"):
        annotations(tmp_path, ROWS, video_path="{name}.mp4")
