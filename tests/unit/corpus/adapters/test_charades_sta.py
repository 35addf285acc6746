"""The `charades_sta` format."""

import pytest

from tests.unit.corpus.adapters.reading import moments, read

ROWS = (
    "3MSZA 24.3 30.4##person turn a light on.\r\n"
    "AMT7R 4.3 12.5##a person writes ## on the wall.\n"
    "\n"
    "3MSZA 0.0 3##사람이 문을 연다."
)


def annotations(folder, text, **options):
    return read("charades_sta", folder / "charades_sta.txt", text, **options)


def test_scattered_lines_become_videos(tmp_path):
    (first, second), problems = annotations(tmp_path, ROWS)
    assert problems == []
    assert (first.path, first.id, first.line, first.duration_s) == ("3MSZA.mp4", "3MSZA", 1, None)
    assert moments(first) == [("person turn a light on.", 24.3, 30.4), ("사람이 문을 연다.", 0, 3)]
    assert [caption.line for caption in first.captions] == [1, 4]
    assert (second.path, moments(second)) == ("AMT7R.mp4", [("a person writes ## on the wall.", 4.3, 12.5)])


def test_path(tmp_path):
    videos, _ = annotations(tmp_path, ROWS, video_path="Charades_v1/{id}.*")
    assert [video.path for video in videos] == ["Charades_v1/3MSZA.*", "Charades_v1/AMT7R.*"]


@pytest.mark.parametrize(
    "line", ["3MSZA 24.3 30.4 no marks", "3MSZA 24.3##one time", "3MSZA from 30##x", "##x", "a b 1 2##x"]
)
def test_bad_line_hides_no_other(tmp_path, line):
    videos, problems = annotations(tmp_path, f"{line}\n{ROWS}")
    what = f"`id start end##caption` is expected, with times in seconds; found {line!r}"
    assert problems == [(1, "bad_row", what)]
    assert [video.id for video in videos] == ["3MSZA", "AMT7R"]


def test_bytes_that_are_no_text_reach_the_checks(tmp_path):
    (video,), problems = annotations(tmp_path, b"3MSZA 1 2##caf\xe9\n")
    assert (problems, video.captions[0].text) == ([], "caf\udce9")
