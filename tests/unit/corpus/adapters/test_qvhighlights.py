"""The `qvhighlights` format."""

import json

import pytest

from tests.unit.corpus.adapters.reading import moments, read

CLIP = "NU_G9-gSes0_210.0_360.0"


def row(vid=CLIP, query="A girl cooks.", windows=((82, 150),), **more):
    told = {} if windows is None else {"relevant_windows": windows}
    return {"qid": 2579, "query": query, "duration": 150, "vid": vid, **told, **more}


def annotations(folder, rows, **options):
    text = "\n".join(json.dumps(each) for each in rows)
    return read("qvhighlights", folder / "highlights.jsonl", text, **options)


def test_every_window_is_a_caption_of_the_clip(tmp_path):
    rows = [
        row(windows=[[0, 10], [30, 42]], saliency_scores=[[1, 2, 3]]),
        row("NU_G9-gSes0_60.0_210.0"),
        row(query="요리한다.", windows=[[1, 2]]),
    ]
    (first, second), problems = annotations(tmp_path, rows)
    assert problems == []
    assert (first.path, first.id, first.source, first.duration_s) == (f"{CLIP}.*", CLIP, "NU_G9-gSes0", 150)
    assert first.start_s is first.end_s is None
    assert moments(first) == [("A girl cooks.", 0, 10), ("A girl cooks.", 30, 42), ("요리한다.", 1, 2)]
    assert (second.path, second.source) == ("NU_G9-gSes0_60.0_210.0.*", "NU_G9-gSes0")


def test_clips_of_whole_videos(tmp_path):
    rows = [row(), row("NU_G9-gSes0_60.5_210.0"), row(query="Again.")]
    videos, _ = annotations(tmp_path, rows, cut=False)
    assert [(video.path, video.start_s, video.end_s) for video in videos] == [
        ("NU_G9-gSes0.*", 210, 360),
        ("NU_G9-gSes0.*", 60.5, 210),
    ]
    assert [len(video.captions) for video in videos] == [2, 1]
    assert videos[0].captions[0].start_s == 82  # from the start of the clip, not of the file


@pytest.mark.parametrize("cut", [True, False])
def test_path(tmp_path, cut):
    (video,), _ = annotations(tmp_path, [row()], cut=cut, video_path="{youtube}/{vid}.mp4")
    assert video.path == f"NU_G9-gSes0/{CLIP}.mp4"


@pytest.mark.parametrize(
    ("bad", "kind", "what"),
    [
        (row(windows=None), "no_time", f"no `relevant_windows` for the query 'A girl cooks.' of {CLIP!r}"),
        (row(windows=[]), "no_time", f"no `relevant_windows` for the query 'A girl cooks.' of {CLIP!r}"),
        (row("NU_G9-gSes0"), "bad_row", "`vid` is `youtube_start_end`; found 'NU_G9-gSes0'"),
        (row(windows=[[1, 2, 3]]), "bad_row", "a window is [start, end]; found [1, 2, 3]"),
        (row(windows={"a": 1}), "bad_row", '`relevant_windows` is an array; found {"a": 1}'),
        ({"query": "x"}, "bad_row", "no `vid`; found the keys: query"),
    ],
)
def test_bad_row_hides_no_other(tmp_path, bad, kind, what):
    videos, problems = annotations(tmp_path, [bad, row()])
    assert problems == [(1, kind, what)]
    assert [moments(video) for video in videos] == [[("A girl cooks.", 82, 150)]]
