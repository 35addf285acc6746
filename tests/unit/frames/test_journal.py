"""The journal gives back what was put into it, whatever its end looks like."""

import pytest

from workflow_scripts.lib.frames.journal import Journal, adopt

IDENTITY = {"settings": 1}


def fill(folder, videos):
    with Journal(folder, IDENTITY) as journal:
        for video in videos:
            journal.add(video, {"reason": None, "video": f"영상 {video}"}, [b"a" * video, b"b" * 3])


def content(folder, identity=IDENTITY):
    with Journal(folder, identity) as journal:
        return {index: list(journal.jpegs(index)) for index in journal.entries}


def test_goes_on_where_it_was(tmp_path):
    fill(tmp_path / "j", [3, 1])
    fill(tmp_path / "j", [7])
    assert content(tmp_path / "j") == {v: [b"a" * v, b"bbb"] for v in (3, 1, 7)}


@pytest.mark.parametrize("name", ["done.jsonl", "frames.bin"])
@pytest.mark.parametrize("cut", [1, 2, 5])
def test_a_broken_end_costs_the_last_video_alone(tmp_path, name, cut):
    fill(tmp_path / "j", [3, 4])
    file = tmp_path / "j" / name
    file.write_bytes(file.read_bytes()[:-cut])
    assert content(tmp_path / "j") == {3: [b"aaa", b"bbb"]}
    fill(tmp_path / "j", [4, 5])
    assert content(tmp_path / "j") == {v: [b"a" * v, b"bbb"] for v in (3, 4, 5)}


def test_wrong_bytes_do_not_count(tmp_path):
    fill(tmp_path / "j", [3, 4])
    file = tmp_path / "j" / "frames.bin"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert list(content(tmp_path / "j")) == [3]


def test_other_settings_begin_anew_and_say_so(tmp_path, capsys):
    fill(tmp_path / "j", [3])
    assert content(tmp_path / "j", {"settings": 2}) == {}
    assert "other settings" in capsys.readouterr().out


def test_remains_without_a_head_do_not_count(tmp_path):
    fill(tmp_path / "j", [3])
    (tmp_path / "j" / "journal.json").unlink()
    assert content(tmp_path / "j") == {}


def test_an_adopted_tar_is_read_and_never_written(tmp_path):
    tar = tmp_path / "frames.tar"
    tar.write_bytes(b"headAAAheadBBBBtail")
    videos = [
        (3, {"reason": None}, [(4, 3), (11, 4)], [b"AAA", b"BBBB"]),
        (5, {"reason": "missing"}, [], []),
    ]
    adopt(tmp_path / "j", IDENTITY, tar, videos)
    assert (tmp_path / "j" / "adopted.tar").samefile(tar)
    fill(tmp_path / "j", [4])
    tar.unlink()  # as Snakemake does before the job
    expected = {3: [b"AAA", b"BBBB"], 5: [], 4: [b"aaaa", b"bbb"]}
    assert content(tmp_path / "j") == expected == content(tmp_path / "j")
    assert (tmp_path / "j" / "adopted.tar").read_bytes() == b"headAAAheadBBBBtail"


def test_an_adopted_tar_that_was_changed_does_not_count(tmp_path):
    tar = tmp_path / "frames.tar"
    tar.write_bytes(b"headAAA")
    adopt(tmp_path / "j", IDENTITY, tar, [(3, {"reason": None}, [(4, 3)], [b"AAA"])])
    tar.write_bytes(b"headAAB")
    assert content(tmp_path / "j") == {}


def test_a_tar_is_copied_where_links_are_not_possible(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError("Operation not supported")

    monkeypatch.setattr("os.link", no_links)
    tar = tmp_path / "frames.tar"
    tar.write_bytes(b"headAAA")
    adopt(tmp_path / "j", IDENTITY, tar, [(3, {"reason": None}, [(4, 3)], [b"AAA"])])
    tar.unlink()
    assert content(tmp_path / "j") == {3: [b"AAA"]}
