"""The `tvr` format."""

import json

import pytest

from tests.unit.corpus.adapters.reading import moments, read


def row(name="show_s01e03_clip_19", duration=61.46, ts=(16.48, 33.87), desc="Ann sings. ", desc_id=1):
    return {"vid_name": name, "duration": duration, "ts": ts, "desc": desc, "type": "v", "desc_id": desc_id}


def annotations(folder, rows, **options):
    text = "\n".join(each if isinstance(each, str) else json.dumps(each) for each in rows)
    return read("tvr", folder / "tvr.jsonl", text, **options)


def test_scattered_rows_become_videos(tmp_path):
    rows = [row(), row("b", 57.35, [0, 2], "Bo leaves."), row(ts=[0, 5], desc="앤이 웃는다.")]
    (first, second), problems = annotations(tmp_path, rows)
    assert problems == []
    assert (first.path, first.id) == ("show_s01e03_clip_19.mp4", "show_s01e03_clip_19")
    assert (first.duration_s, first.line) == (61.46, 1)
    assert moments(first) == [("Ann sings.", 16.48, 33.87), ("앤이 웃는다.", 0, 5)]
    assert [caption.line for caption in first.captions] == [1, 3]
    assert (second.path, moments(second)) == ("b.mp4", [("Bo leaves.", 0, 2)])


def test_path(tmp_path):
    videos, _ = annotations(tmp_path, [row("b")], video_path="clips/{vid_name}.*")
    assert [video.path for video in videos] == ["clips/b.*"]


def test_rows_of_the_public_test_file_name_no_video(tmp_path):
    rows = [{"desc": "Ann hands Bo a bag. ", "desc_id": 5}, {"desc": "Bo smiles.", "desc_id": 6}]
    videos, problems = annotations(tmp_path, rows)
    assert videos == []
    assert problems == [
        (1, "no_video", "no `vid_name` for the description 'Ann hands Bo a bag.'"),
        (2, "no_video", "no `vid_name` for the description 'Bo smiles.'"),
    ]


@pytest.mark.parametrize(
    ("bad", "kind", "what"),
    [
        (row(ts=None), "no_time", "no `ts` for the description 'Ann sings.' of 'show_s01e03_clip_19'"),
        (row(ts=[1]), "bad_row", "`ts` is [start, end]; found [1]"),
        (row(desc=7), "bad_row", "`desc` is a text; found 7"),
        ("vid_name", "bad_row", "not readable as JSON: Expecting value at character 1"),
        ('{"desc": "a", "desc": "b"}', "bad_row", "the key `desc` is there more than once"),
    ],
)
def test_bad_row_hides_no_other(tmp_path, bad, kind, what):
    videos, problems = annotations(tmp_path, [bad, row("b")])
    assert problems == [(1, kind, what)]
    assert [video.id for video in videos] == ["b"]


def test_rows_of_a_video_agree_on_its_duration(tmp_path):
    rows = [row(), row(duration=60, ts=[0, 1], desc="x"), row(ts=[2, 3], desc="y")]
    (video,), problems = annotations(tmp_path, rows)
    assert [problem[:2] for problem in problems] == [(2, "bad_row")]
    assert "60.0" in problems[0][2] and "61.46" in problems[0][2]
    assert [text for text, *_ in moments(video)] == ["Ann sings.", "y"]
