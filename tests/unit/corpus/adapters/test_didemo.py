"""The `didemo` format."""

import json

import pytest

from tests.unit.corpus.adapters.reading import moments, read
from workflow_scripts.lib.errors import UserError

VIDEO = "39727414@N00_3622114091_452b89919c.3gp"


def row(times=((1, 1), (1, 1), (0, 1)), video=VIDEO, description="the baby is shown.", **more):
    return {"description": description, "times": times, "num_segments": 6, "video": video, **more}


def annotations(folder, rows, **options):
    return read("didemo", folder / "didemo.json", json.dumps(rows), **options)


@pytest.mark.parametrize(
    ("times", "start", "end"),
    [
        ([[1, 1], [1, 1], [1, 1], [0, 0]], 5, 10),
        ([[4, 5], [1, 1], [5, 5], [4, 5]], 20, 30),
        ([[0, 2], [2, 2], [2, 2], [2, 2]], 10, 15),
        ([[3, 3], [2, 3], [2, 3], [3, 3]], 15, 20),  # a tie: the one that is there first
        ([[5, 5]], 25, 30),
    ],
)
def test_moment_that_most_annotators_name(tmp_path, times, start, end):
    (video,), problems = annotations(tmp_path, [row(times)])
    assert problems == []
    assert moments(video) == [("the baby is shown.", start, end)]


def test_rows_of_a_video(tmp_path):
    other = "8748128@N02_4876462651_bf3ec244f9.avi"
    rows = [row(annotation_id=1), row(video=other), row([[2, 3]], description="아기가 웃는다.")]
    (first, second), problems = annotations(tmp_path, rows)
    assert problems == []
    assert (first.path, first.id, first.line, first.duration_s) == (VIDEO, VIDEO, 1, None)
    assert moments(first) == [("the baby is shown.", 5, 10), ("아기가 웃는다.", 10, 20)]
    assert (second.path, second.line) == (other, 2)


def test_path_with_another_ending(tmp_path):
    (video,), _ = annotations(tmp_path, [row()], video_path="{stem}.mp4")
    assert video.path == "39727414@N00_3622114091_452b89919c.mp4"


@pytest.mark.parametrize(
    ("bad", "kind", "what"),
    [
        (row(None), "no_time", f"no `times` for the description 'the baby is shown.' of {VIDEO!r}"),
        (row([]), "no_time", f"no `times` for the description 'the baby is shown.' of {VIDEO!r}"),
        (row([[1, 6]]), "bad_row", "`times` [1, 6] are not among 6 segments, counted from 0"),
        (row([[1, 1], [2, 1]]), "bad_row", "`times` [2, 1] are not among 6 segments, counted from 0"),
        (row([[-1, 1]]), "bad_row", "`times` [-1, 1] are not among 6 segments, counted from 0"),
        (row([[1, 1.5]]), "bad_row", "`times` are pairs of segments; found [1, 1.5]"),
        (row([1, 1]), "bad_row", "`times` are pairs of segments; found 1"),
        (row(video=""), "bad_row", "no `video`; found the keys: description, times, num_segments, video"),
    ],
)
def test_bad_row_hides_no_other(tmp_path, bad, kind, what):
    videos, problems = annotations(tmp_path, [bad, row()])
    assert problems == [(1, kind, what)]
    assert [(video.id, video.line) for video in videos] == [(VIDEO, 2)]


def test_broken_json_is_refused_with_its_place(tmp_path):
    with pytest.raises(UserError, match=r"didemo\.json:2"):
        read("didemo", tmp_path / "didemo.json", '[{"video": "a.mp4"},\n')


def test_a_segment_too_large_for_a_time_is_a_bad_row(tmp_path):
    huge = row([[10**400, 10**400]]) | {"num_segments": None}
    videos, problems = annotations(tmp_path, [huge, row(video="b.mp4")])
    assert [video.path for video in videos] == ["b.mp4"]
    assert [problem[:2] for problem in problems] == [(1, "bad_row")]
