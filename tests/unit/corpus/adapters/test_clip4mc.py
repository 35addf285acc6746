"""The `clip4mc` format."""

import json
import tracemalloc

import pytest

from tests.unit.corpus.adapters.reading import read
from workflow_scripts.lib.corpus.adapters import ADAPTERS


def row(vid="yt_-1", begin=12.0, end=28, transcript="place a torch", **more):
    return {
        "vid": vid,
        "transcript clip": transcript,
        "begin position": begin,
        "end position": end,
        "size": [0.1, 0.2],
        **more,
    }


def lines(rows):
    return "\n".join(json.dumps(each) for each in rows)


@pytest.mark.parametrize("write", [json.dumps, lines])
def test_every_row_is_a_clip_of_its_source(tmp_path, write):
    rows = [row(), row(begin=28, end=44.5, transcript=" 횃불을 놓는다 ")]
    (first, second), problems = read("clip4mc", tmp_path / "pairs.json", write(rows))
    assert problems == []
    assert (first.path, first.id, first.source, first.line) == ("yt_-1.*", "yt_-1_12.0_28.0", "yt_-1", 1)
    assert (first.start_s, first.end_s) == (12, 28)
    caption = first.captions[0]
    assert (caption.text, caption.start_s, caption.end_s) == ("place a torch", None, None)
    assert (second.id, second.source, second.line) == ("yt_-1_28.0_44.5", "yt_-1", 2)
    assert second.captions[0].text == "횃불을 놓는다"


def test_clips_that_are_cut_are_whole_files(tmp_path):
    rows = [row(clip_path="clips/0.mp4"), row(begin=None, clip_path="clips/1.mp4")]
    videos, problems = read("clip4mc", tmp_path / "pairs.json", lines(rows), video_path="source/{vid}.mkv")
    assert problems == []
    assert [(video.path, video.start_s, video.end_s) for video in videos] == [
        ("clips/0.mp4", None, None),
        ("clips/1.mp4", None, None),
    ]
    assert [(video.id, video.source) for video in videos] == [
        ("yt_-1_12.0_28.0", "yt_-1"),
        ("clips/1.mp4", "yt_-1"),
    ]


def test_path_and_the_other_name_of_the_transcript(tmp_path):
    given = {"vid": "a", "transcript": "dig", "begin position": 0, "end position": 1}
    (video,), _ = read("clip4mc", tmp_path / "p.jsonl", lines([given]), video_path="source/{vid}.mkv")
    assert (video.path, video.captions[0].text) == ("source/a.mkv", "dig")


@pytest.mark.parametrize(
    ("bad", "kind", "what"),
    [
        (row(begin=None), "no_time", "no begin and end position of a clip of 'yt_-1'"),
        (row(end=None), "no_time", "no begin and end position of a clip of 'yt_-1'"),
        ({"vid": "a", "transcript": "dig"}, "no_time", "no begin and end position of a clip of 'a'"),
        (row(begin="soon"), "bad_row", "a number of seconds is expected, found 'soon'"),
        ({"vid": "a"}, "bad_row", "no `transcript clip` and no `transcript`; found the keys: vid"),
        ({"transcript": "dig"}, "bad_row", "no `vid`; found the keys: transcript"),
        ([], "bad_row", "a row is an object; found []"),
    ],
)
@pytest.mark.parametrize("write", [json.dumps, lines])
def test_bad_row_hides_no_other(tmp_path, bad, kind, what, write):
    videos, problems = read("clip4mc", tmp_path / "pairs", write([row("good"), bad, row("good too")]))
    assert problems == [(2, kind, what)]
    assert [video.source for video in videos] == ["good", "good too"]


def test_json_lines_are_read_in_bounded_memory(tmp_path):
    file, adapter = tmp_path / "pairs.jsonl", ADAPTERS["clip4mc"]
    with file.open("w") as handle:
        handle.writelines(json.dumps(row(begin=i, end=i + 16)) + "\n" for i in range(20_000))
    tracemalloc.start()
    count = sum(1 for _ in adapter.read(file, adapter.options()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 20_000
    assert peak < file.stat().st_size / 4
