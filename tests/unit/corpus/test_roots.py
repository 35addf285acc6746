"""Paths inside the root, and the files that they name."""

import os
import unicodedata

import pytest

from workflow_scripts.lib.corpus.roots import CorpusRoot, locate


@pytest.fixture
def root(tmp_path):
    """A root with a few files, beside a folder that it may not lead to."""
    (tmp_path / "root" / "영상" / "b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.mp4").touch()
    for name in ("a.mp4", "영상/b/c.webm", "영상/b/c.json", "영상/d.MP4", "e.avi", "e.mkv", "f.tar.ogv"):
        (tmp_path / "root" / name).touch()
    return tmp_path / "root"


@pytest.mark.parametrize(
    ("path", "relative"),
    [
        ("a.mp4", "a.mp4"),
        ("영상/b/c.*", "영상/b/c.*"),
        ("not there/x.mp4", "not there/x.mp4"),
        ("./a.mp4", "a.mp4"),
        ("영상//b/./c.*", "영상/b/c.*"),
        ("b/../a.mp4", "a.mp4"),
        (".hidden/a.mp4", ".hidden/a.mp4"),
        ("..a/x", "..a/x"),
        ("../outside/x.mp4", None),
        ("b/../../x.mp4", None),
        ("..", None),
        (".", None),
        ("/", None),
        ("/x.mp4", None),
        ("link/x.mp4", None),
        ("link/../a.mp4", "a.mp4"),
        ("{}/a.mp4", "a.mp4"),
        ("{}/../outside/x.mp4", None),
        ("{}2/a.mp4", None),
    ],
)
def test_relative(root, path, relative):
    (root / "link").symlink_to(root.parent / "outside")
    assert CorpusRoot(root).relative(path.format(root)) == relative


@pytest.mark.parametrize("spelled", ["NFC", "NFD"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("ending", [".mp4", ".*"])
def test_files_are_found_however_they_are_spelled(tmp_path, on_disk, spelled, ending):
    file = tmp_path / unicodedata.normalize(on_disk, "한국/영상/é ü.mp4")
    file.parent.mkdir(parents=True)
    file.touch()
    # Each part by itself: a folder may have come from another system than its files.
    for path in (
        unicodedata.normalize(spelled, "한국/영상/é ü"),
        unicodedata.normalize(spelled, "한국") + "/영상/é ü",
    ):
        assert locate(tmp_path, path + ending) == file
        assert CorpusRoot(tmp_path).look(path + ending) == "there"


@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("a.mp4", "a.mp4"),
        ("a.*", "a.mp4"),
        ("e.*", "e.mkv"),  # before avi
        ("영상/b/c.*", "영상/b/c.webm"),  # not c.json
        ("영상/d.*", "영상/d.MP4"),
        ("f.tar.*", "f.tar.ogv"),
        ("f.*", None),
        ("영상/b/x.*", None),
        ("A.mp4", None),
        ("영상", None),
        ("no/a.mp4", None),
        ("영상/no/a.mp4", None),
    ],
)
def test_any_ending(root, path, file):
    assert locate(root, path) == (file and root / file)
    assert CorpusRoot(root).look(path) == ("there" if file else "missing")


def test_links_are_followed_and_may_not_lead_outside(root):
    (root / "inside.mp4").symlink_to("a.mp4")
    (root / "leak.mp4").symlink_to(root.parent / "outside" / "x.mp4")
    (root / "folder").symlink_to(root.parent / "outside")
    (root / "broken.mp4").symlink_to("nothing.mp4")
    assert locate(root, "inside.mp4") == root / "inside.mp4"
    assert [locate(root, path) for path in ("leak.mp4", "leak.*", "folder/x.mp4", "broken.mp4")] == [None] * 4
    looked = [CorpusRoot(root).look(path) for path in ("inside.mp4", "leak.mp4", "leak.*", "broken.mp4")]
    assert looked == ["there", "outside", "outside", "missing"]


def test_a_file_that_comes_later_is_found(root):
    os.utime(root / "영상", (0, 0))
    assert locate(root, "영상/늦게.*") is None
    (root / "영상" / unicodedata.normalize("NFD", "늦게.flv")).touch()
    assert locate(root, "영상/늦게.*").suffix == ".flv"


def test_a_folder_is_listed_once_and_no_file_is_asked_for(root, monkeypatch):
    checked, listed, scan = CorpusRoot(root), [], os.scandir
    monkeypatch.setattr("os.scandir", lambda path: listed.append(path) or scan(path))
    monkeypatch.setattr("os.stat", lambda *_, **__: pytest.fail("a file was asked for"))
    assert [checked.look(path) for path in ("a.mp4", "b.mp4", "e.mkv", "a.mp4")].count("there") == 3
    assert len(listed) == 1
