"""The `folder` format: files of captions beside videos."""

import json
from unicodedata import normalize

import pytest

from workflow_scripts.lib.corpus.adapters import ADAPTERS
from workflow_scripts.lib.corpus.annotations import Problem
from workflow_scripts.lib.errors import UserError


def tree(folder, files):
    """Write files by their relative paths; None is an empty one."""
    for path, content in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content or ""), encoding="utf-8")


def read(folder, adapter="folder", **options):
    """Videos, and problems as (file, line, kind, what)."""
    made = ADAPTERS[adapter]
    assert made.folder
    found = list(made.read(folder, made.options(**options)))
    problems = [
        (p.file.relative_to(folder).as_posix(), p.line, p.kind, p.what)
        for p in found
        if isinstance(p, Problem)
    ]
    return [each for each in found if not isinstance(each, Problem)], problems


def test_captions_beside_videos_in_folders_of_any_script(tmp_path):
    tree(
        tmp_path,
        {
            "b.MP4": None,
            "b.txt": "one\n\n two \n",
            "영상/가.webm": None,
            "영상/가.ko.txt": "파란 바다",
            "영상/가.en.txt": "a blue sea\n",
            "a/c.v2.mkv": None,
            "a/c.v2.json": {
                "captions": [{"text": "x", "start_s": 1, "end_s": 2}],
                "id": "c",
                "split": "val",
                "source": "s",
                "duration_s": 9,
            },
            ".hidden.mp4": None,
            ".git/d.mp4": None,
            "notes.md": "not ours",
        },
    )
    videos, problems = read(tmp_path)
    assert problems == []
    assert [v.path for v in videos] == [
        str(tmp_path / name) for name in ("b.MP4", "a/c.v2.mkv", "영상/가.webm")
    ]
    b, c, ga = videos
    assert [(x.text, x.line, x.language, x.file.name) for x in b.captions] == [
        ("one", 1, None, "b.txt"),
        ("two", 3, None, "b.txt"),
    ]
    assert (c.id, c.split, c.source, c.duration_s) == ("c", "val", "s", 9)
    assert [(x.text, x.start_s, x.end_s) for x in c.captions] == [("x", 1, 2)]
    assert [(x.text, x.language) for x in ga.captions] == [("a blue sea", "en"), ("파란 바다", "ko")]


def test_names_spelled_differently_belong_together(tmp_path):
    tree(tmp_path, {normalize("NFD", "한국.mp4"): None, normalize("NFC", "한국.ko.txt"): "바다"})
    [video], problems = read(tmp_path)
    assert problems == []
    assert video.captions[0].text == "바다"


def test_a_name_that_ends_like_a_language_is_first_a_name(tmp_path):
    tree(tmp_path, {"a.mp4": None, "a.ko.mp4": None, "a.ko.txt": "of a.ko", "a.txt": "of a"})
    videos, problems = read(tmp_path)
    assert problems == []
    assert {(v.path[-6:], v.captions[0].text, v.captions[0].language) for v in videos} == {
        ("/a.mp4", "of a", None),
        ("ko.mp4", "of a.ko", None),
    }


def test_folders_tell_the_split(tmp_path):
    files = {f"{place}/x.{end}": "x" for place in ("train", "val/deep", "dev") for end in ("mp4", "txt")}
    tree(tmp_path, {**files, "top.mp4": None, "top.txt": "x"})
    videos, problems = read(tmp_path, split_folders=True)
    assert problems == []
    # the checks make a bad_split of the folder that is none
    assert [v.split for v in videos] == [None, "dev", "train", "val"]
    assert [v.split for v in read(tmp_path)[0]] == [None, None, None, None]


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"x.mp4": None}, ("x.mp4", 1, "no_caption", "there is no x.txt and no x.json beside the video")),
        ({"x.txt": "y"}, ("x.txt", 1, "no_video", "there is no video beside 'x.txt'")),
        ({"x.ko.txt": "y"}, ("x.ko.txt", 1, "no_video", "there is no video beside 'x.ko.txt'")),
        (
            {"a.mkv": None},
            ("a.mp4", 1, "duplicate_video", "'a.mp4' has the captions of 'a.mkv', which is called alike"),
        ),
        (
            {"x.mp4": None, "x.json": '{\n"caption" 3}'},
            ("x.json", 2, "bad_row", "not readable as JSON: Expecting ':' delimiter at column 11"),
        ),
        ({"x.mp4": None, "x.json": [3]}, ("x.json", 1, "bad_row", "a row is an object; found [3]")),
        (
            {"x.mp4": None, "x.json": {"text": "y"}},
            ("x.json", 1, "bad_row", "no `caption` and no `captions`; found the keys: text"),
        ),
    ],
)
def test_a_bad_file_hides_no_other(tmp_path, files, problem):
    tree(tmp_path, {"a.mp4": None, "a.txt": "a sea", **files})
    videos, problems = read(tmp_path)
    assert problems == [problem]
    assert [v.captions[0].text for v in videos] == ["a sea"]


def test_a_split_that_contradicts_the_folder(tmp_path):
    tree(tmp_path, {"val/x.mp4": None, "val/x.json": {"caption": "y", "split": "train"}})
    videos, problems = read(tmp_path, split_folders=True)
    assert videos == []
    assert problems == [
        ("val/x.json", 1, "bad_split", "split 'train', but the video lies in the folder 'val'")
    ]


def test_links_to_folders_are_followed_but_not_in_circles(tmp_path):
    tree(tmp_path, {"real/x.mp4": None, "real/x.txt": "y", "root/.keep": ""})
    (tmp_path / "root/linked").symlink_to(tmp_path / "real")
    (tmp_path / "real/back").symlink_to(tmp_path / "root")
    videos, problems = read(tmp_path / "root")
    assert problems == []
    assert [v.path for v in videos] == [str(tmp_path / "root/linked/x.mp4")]


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no: there is no such folder; set corpus\.annotations"):
        read(tmp_path / "no")
