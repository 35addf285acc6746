"""The `msrvtt` format, with its official splits and with JSFusion's."""

import json

import pytest

from tests.unit.corpus.adapters.reading import read
from workflow_scripts.lib.errors import UserError


def video(number, split, **more):
    times = {"start time": 10.5, "end time": 22.0, "category": 9, "url": "https://x", "id": number}
    return {"video_id": f"video{number}", "split": split, **times, **more}


def sentence(number, caption, sen_id=0):
    return {"video_id": f"video{number}", "caption": caption, "sen_id": sen_id}


VIDEOS = [video(0, "train"), video(1, "validate"), video(2, "test"), video(3, "test")]
SENTENCES = [sentence(n, f"{word} of {n}") for word in ("one", "둘") for n in (2, 0, 3, 1)]


def annotations(folder, videos=VIDEOS, sentences=SENTENCES, **options):
    document = {"info": {}, "videos": videos, "sentences": sentences}
    return read("msrvtt", folder / "MSRVTT_data.json", json.dumps(document), **options)


def jsfusion(folder, *rows):
    file = folder / "MSRVTT_JSFUSION_test.csv"
    file.write_text("\n".join(["key,vid_key,video_id,sentence", *rows, ""]), encoding="utf-8")
    return file


def texts(videos):
    return [(v.id, v.split, [c.text for c in v.captions]) for v in videos]


def test_videos_with_their_scattered_sentences(tmp_path):
    videos, problems = annotations(tmp_path)
    assert problems == []
    assert texts(videos) == [
        ("video0", "train", ["one of 0", "둘 of 0"]),
        ("video1", "val", ["one of 1", "둘 of 1"]),
        ("video2", "test", ["one of 2", "둘 of 2"]),
        ("video3", "test", ["one of 3", "둘 of 3"]),
    ]
    assert (videos[0].path, videos[0].source, videos[0].duration_s) == ("video0.mp4", "video0", 11.5)
    assert videos[0].start_s is videos[0].end_s is None  # the files are cut already


def test_jsfusion_has_one_sentence_a_test_video_and_all_others_to_train(tmp_path):
    file = jsfusion(tmp_path, "ret0,msr3,video3,the one of 3")
    videos, problems = annotations(tmp_path, jsfusion_test=file, video_path="TrainValVideo/{video_id}.*")
    assert problems == []
    assert texts(videos) == [
        ("video0", "train", ["one of 0", "둘 of 0"]),
        ("video1", "train", ["one of 1", "둘 of 1"]),
        ("video2", "train", ["one of 2", "둘 of 2"]),
        ("video3", "test", ["the one of 3"]),
    ]
    assert (videos[3].file, videos[3].line, videos[3].captions[0].line) == (file, 2, 2)
    assert videos[3].path == "TrainValVideo/video3.*"


def test_jsfusion_rows_that_name_no_video_or_one_twice(tmp_path):
    file = jsfusion(tmp_path, "k,v,video9,lost", "k,v,video3,first", "k,v,video3,second", "k,v,video2")
    videos, problems = annotations(tmp_path, jsfusion_test=file)
    assert problems == [
        (2, "bad_row", "'video9' is not among the videos of the annotation"),
        (4, "duplicate_video", "'video3' is in line 3 already"),
        (5, "bad_row", "3 cells, but the header names 4 columns"),
    ]
    assert [v.split for v in videos] == ["train", "train", "train", "test"]
    assert texts(videos)[3][2] == ["first"]


def test_jsfusion_with_the_file_that_has_train_and_validate_alone(tmp_path):
    file = jsfusion(tmp_path, "k,v,video3,first")
    videos, problems = annotations(tmp_path, VIDEOS[:2], [sentence(0, "x")], jsfusion_test=file)
    assert problems == []
    assert [v.split for v in videos] == ["train", "train"]


@pytest.mark.parametrize(
    ("more_videos", "more_sentences", "problem"),
    [
        ([{"split": "train"}], [], (5, "bad_row", "no `video_id`; found the keys: split")),
        ([video(4, 3)], [], (5, "bad_row", "`split` is a text; found 3")),
        (
            [video(4, "test", **{"end time": "late"})],
            [],
            (5, "bad_row", "a number of seconds is expected, found 'late'"),
        ),
        ([video(2, "train")], [], (5, "duplicate_video", "'video2' was there before")),
        ([], [sentence(7, "x")], (9, "bad_row", "a sentence of 'video7', which is not among the videos")),
        ([], [{"video_id": "video1", "caption": ["x"]}], (9, "bad_row", '`caption` is a text; found ["x"]')),
        ([], ["x"], (9, "bad_row", 'a sentence is an object; found "x"')),
    ],
)
def test_a_bad_row_hides_no_other(tmp_path, more_videos, more_sentences, problem):
    videos, problems = annotations(tmp_path, VIDEOS + more_videos, SENTENCES + more_sentences)
    assert problems == [problem]
    assert [len(v.captions) for v in videos] == [2, 2, 2, 2]


def test_another_document_is_told_with_its_keys(tmp_path):
    with pytest.raises(UserError, match="no list `sentences`; found the keys: info, videos, sentences"):
        annotations(tmp_path, sentences=None)


def test_a_list_that_is_there_twice_is_not_dropped(tmp_path):
    with pytest.raises(UserError, match=r"msrvtt\.json: the key `videos` is there more than once"):
        read("msrvtt", tmp_path / "msrvtt.json", '{"videos": [], "sentences": [], "videos": []}')
