"""The `aihub` format: a JSON file a video, beside it or in a folder of labels."""

import json

import pytest

from tests.unit.corpus.adapters.test_folder import read as read_folder
from tests.unit.corpus.adapters.test_folder import tree

LONG = "이 영상은 맑은 날 낮의 한옥을 주요 배경으로 촬영되었습니다. " * 16
NESTED = {"annotation": {"description_kr": LONG}}
DOCUMENTED = {
    "video_id": "nature_1",
    "filename": "nature_1.mp4",
    "category": {"main": "자연"},
    "metadata": {"duration": 15.5, "fps": 30},
    "caption": {"korean": "푸른 바다", "english": None},
}


def read(folder, **options):
    return read_folder(folder, "aihub", **options)


def sample(folder, label, **options):
    """The captions as (text, language), and the problems, of one video with that label."""
    tree(folder, {"s1/x.json": label, "s1/x.mp4": None})
    videos, problems = read(folder, **options)
    return [(c.text, c.language) for video in videos for c in video.captions], problems


def test_labels_beside_videos_and_a_folder_a_sample(tmp_path):
    tree(
        tmp_path,
        {
            "Training/labels/자연/a.json": DOCUMENTED,
            "Training/videos/자연/a.mp4": None,
            "2.Validation/라벨링데이터/b.json": NESTED,
            "2.Validation/원천데이터/b.AVI": None,
            "test/s1/c.json": NESTED,
            "test/s1/c.mp4": None,
            "d/d.json": NESTED,
            "d/d.mp4": None,
        },
    )
    videos, problems = read(tmp_path)
    assert problems == []
    assert {
        v.path.removeprefix(f"{tmp_path}/"): (v.split, v.id, v.duration_s, v.file.name) for v in videos
    } == {
        "Training/videos/자연/a.mp4": ("train", "nature_1", 15.5, "a.json"),
        "2.Validation/원천데이터/b.AVI": ("val", None, None, "b.json"),
        "test/s1/c.mp4": ("test", None, None, "c.json"),
        "d/d.mp4": (None, None, None, "d.json"),
    }
    assert [v.file.name for v in videos] == ["b.json", "a.json", "d.json", "c.json"]  # by path
    assert len(LONG) > 500
    assert videos[0].captions[0].text == LONG


@pytest.mark.parametrize(
    ("label", "captions"),
    [
        (NESTED, [(LONG, "ko")]),
        (DOCUMENTED, [("푸른 바다", "ko")]),
        ({"description_kr": "바다"}, [("바다", "ko")]),
        ({"description": "바다"}, [("바다", None)]),
        ({"caption": "바다"}, [("바다", None)]),
        ({"caption": ["바다", "하늘"]}, [("바다", None), ("하늘", None)]),
        ({"caption": {"korean": "바다", "english": "a sea"}}, [("바다", "ko")]),
        ({"caption": {"korean": None, "english": "a sea"}}, [("a sea", "en")]),
        ({"description_kr": ""}, [("", "ko")]),  # the checks make an empty_caption of it
    ],
)
def test_known_places_of_the_caption(tmp_path, label, captions):
    assert sample(tmp_path, label) == (captions, [])


@pytest.mark.parametrize(
    ("caption_path", "label", "captions"),
    [
        ("a.b", {"a": {"b": "바다"}, "caption": "다른"}, [("바다", None)]),
        ("scenes.1.text", {"scenes": [{"text": "하나"}, {"text": "둘"}]}, [("둘", None)]),
        (
            {"ko": "caption.korean", "en": "caption.english"},
            {"caption": {"korean": "바다", "english": "a sea"}},
            [("바다", "ko"), ("a sea", "en")],
        ),
        ({"ko": "caption.korean", "en": "caption.english"}, DOCUMENTED, [("푸른 바다", "ko")]),
    ],
)
def test_told_places_of_the_caption(tmp_path, caption_path, label, captions):
    assert sample(tmp_path, label, caption_path=caption_path) == (captions, [])


def test_no_caption_names_the_places_where_texts_are(tmp_path):
    captions, [(file, line, kind, what)] = sample(
        tmp_path, {"설명": "바다", "a": [{"b": "c"}], "n": 3}, caption_path="annotation.description_kr"
    )
    assert (captions, file, line, kind) == ([], "s1/x.json", 1, "no_caption")
    assert what.startswith("no caption at annotation.description_kr; there are texts at: 설명, a.0.b; ")
    assert "corpus.options.caption_path" in what


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        (
            {"x.json": '{"caption": '},
            ("x.json", 1, "bad_row", "not readable as JSON: Expecting value at column 13"),
        ),
        (
            {"x.json": '{"caption": "a", "caption": "b"}'},
            ("x.json", 1, "bad_row", "the key `caption` is there more than once"),
        ),
        (
            {"x.json": '{"caption": {"korean": "a", "korean": "b"}}'},
            ("x.json", 1, "bad_row", "the key `korean` is there more than once"),
        ),
        (
            {"x.json": {"description": 3}},
            ("x.json", 1, "bad_row", "a text is expected at description; found 3"),
        ),
        (
            {"x.json": {"caption": "a", "metadata": {"duration": "long"}}},
            ("x.json", 1, "bad_row", "a number of seconds is expected, found 'long'"),
        ),
        ({}, ("x.mp4", 1, "no_caption", "there is no x.json for the video")),
    ],
)
def test_a_bad_file_hides_no_other(tmp_path, files, problem):
    tree(tmp_path, {"a.json": NESTED, "a.mp4": None, "x.mp4": None, **files})
    videos, problems = read(tmp_path)
    assert problems == [problem]
    assert [v.captions[0].text for v in videos] == [LONG]


def test_a_label_without_video_and_two_for_one(tmp_path):
    tree(tmp_path, {"labels/a.json": NESTED, "videos/a.json": NESTED, "videos/a.mp4": None, "b.json": NESTED})
    videos, problems = read(tmp_path)
    assert len(videos) == 1
    assert [problem[:3] for problem in problems] == [
        ("videos/a.json", 1, "duplicate_video"),
        ("b.json", 1, "no_video"),
    ]


def test_other_names_of_folders(tmp_path):
    tree(tmp_path, {"학습/json/a.json": NESTED, "학습/mp4/a.mp4": None})
    [video], problems = read(tmp_path, label_folders={"json": "mp4"}, splits={"학습": "train"})
    assert problems == []
    assert (video.split, json.loads(video.file.read_text(encoding="utf-8"))) == ("train", NESTED)
