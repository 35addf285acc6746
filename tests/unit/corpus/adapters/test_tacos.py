"""The `tacos` format."""

import json

import pytest

from tests.unit.corpus.adapters.reading import moments, read

ROWS = {
    "s34-d28.avi": {
        "timestamps": [[201, 487], [501, 954]],
        "sentences": ["The person gets out a knife.", "The person gets out a plate."],
        "fps": 25,
        "num_frames": 1000,
    },
    "s36-d27.avi": {"timestamps": [[0, 59]], "sentences": ["양파를 꺼낸다."], "fps": 29.5},
}


def annotations(folder, rows, **options):
    return read("tacos", folder / "tacos.json", json.dumps(rows), **options)


def test_frames_become_seconds(tmp_path):
    (first, second), problems = annotations(tmp_path, ROWS)
    assert problems == []
    assert (first.path, first.id, first.duration_s, first.line) == ("s34-d28.avi", "s34-d28.avi", 40, 1)
    assert moments(first) == [
        ("The person gets out a knife.", 8.04, 19.48),
        ("The person gets out a plate.", 20.04, 38.16),
    ]
    assert (second.duration_s, moments(second)) == (None, [("양파를 꺼낸다.", 0, 2)])


def test_path_with_another_ending(tmp_path):
    videos, _ = annotations(tmp_path, ROWS, video_path="videos/{stem}.mp4")
    assert [video.path for video in videos] == ["videos/s34-d28.mp4", "videos/s36-d27.mp4"]


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"fps": None}, "`fps` is a number above 0; found null"),
        ({"fps": 0}, "`fps` is a number above 0; found 0"),
        ({"fps": float("nan")}, "`fps` is a number above 0; found NaN"),
        ({"fps": True}, "a number of seconds is expected, found True"),
        ({"sentences": ["one"]}, "2 timestamps, but 1 sentences"),
        ({"timestamps": [[1, 2], 3]}, "a timestamp is [start, end]; found 3"),
    ],
)
def test_bad_video_hides_no_other(tmp_path, change, what):
    videos, problems = annotations(tmp_path, {"bad.avi": ROWS["s34-d28.avi"] | change, **ROWS})
    assert problems == [(1, "bad_row", what)]
    assert [video.id for video in videos] == ["s34-d28.avi", "s36-d27.avi"]
