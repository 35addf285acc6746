"""The `csv` format: what a row tells, and which rows are none."""

import pytest

from tests.unit.corpus.adapters.reading import read
from workflow_scripts.lib.errors import UserError


def rows(folder, text):
    return read("csv", folder / "자막.csv", text)


def test_id_source_and_duration(tmp_path):
    text = "ID,video,caption,Source,duration_s\nk1, a.mp4 ,x,유튜브_1,12.5\n,b.mp4,y,,\n"
    (first, second), problems = rows(tmp_path, text)
    assert problems == []
    assert (first.path, first.id, first.source, first.duration_s) == ("a.mp4", "k1", "유튜브_1", 12.5)
    assert (second.id, second.source, second.duration_s) == (None, None, None)


def test_rows_of_a_video_make_one_and_later_ones_tell_what_is_open(tmp_path):
    text = "video,caption,id,split,lang\na.mp4,x,,,\na.mp4,y,k1,val,ko\nb.mp4,z,,,\na.mp4,again,,,\n"
    videos, problems = rows(tmp_path, text)
    assert problems == []
    assert [(v.path, v.line, v.id, v.split) for v in videos] == [
        ("a.mp4", 2, "k1", "val"),
        ("b.mp4", 4, None, None),
        ("a.mp4", 5, None, None),
    ]
    assert [(c.text, c.line, c.language) for c in videos[0].captions] == [("x", 2, None), ("y", 3, "ko")]


def test_a_bad_row_between_the_rows_of_a_video_does_not_part_them(tmp_path):
    (video,), problems = rows(tmp_path, "video,caption\na.mp4,x\na.mp4,y,z\na.mp4,w\n")
    assert [c.text for c in video.captions] == ["x", "w"]
    assert problems == [(3, "bad_row", "3 cells, but the header names 2 columns")]


@pytest.mark.parametrize(
    ("row", "kind", "what"),
    [
        ("a.mp4,x,k2,,,", "bad_row", "id 'k2' of the video 'a.mp4', but row 2 says 'k1'"),
        ("a.mp4,x,,s2,,", "bad_row", "source 's2' of the video 'a.mp4', but row 2 says 's1'"),
        ("a.mp4,x,,,8,", "bad_row", "duration_s 8.0 of the video 'a.mp4', but row 2 says 7.0"),
        ("a.mp4,x,,,,test", "bad_split", "split 'test' of the video 'a.mp4', but row 2 says 'val'"),
        ("a.mp4,x,,,soon,", "bad_row", "a number of seconds is expected, found 'soon'"),
        ("  ,x,,,,", "bad_row", "no video path"),
        ('a.mp4,"x"y,,,,', "bad_row", "not readable as CSV: ',' expected after '\"'"),
    ],
)
def test_a_row_that_contradicts_or_is_none(tmp_path, row, kind, what):
    head = "video,caption,id,source,duration_s,split\na.mp4,first,k1,s1,7,val\n"
    (video,), problems = rows(tmp_path, f"{head}{row}\na.mp4,last,,,,\n")
    assert problems == [(3, kind, what)]
    assert [c.text for c in video.captions] == ["first", "last"]


def test_lines_are_counted_through_blank_ones_and_line_breaks(tmp_path):
    text = (
        '\ufeffvideo,"cap\ntion",caption\r\n\r\na.mp4,,"one\r\ntwo, ""three"""\r\n\r\nb.mp4,,\xe9\nc.mp4,,z'
    )
    videos, problems = rows(tmp_path, text)
    assert problems == []
    assert [(v.path, v.line, v.captions[0].text) for v in videos] == [
        ("a.mp4", 4, 'one\r\ntwo, "three"'),
        ("b.mp4", 7, "é"),
        ("c.mp4", 8, "z"),
    ]


def test_a_stray_quote_after_many_good_rows_is_told_with_its_line(tmp_path):
    good = "".join(f'{n}.mp4,"two\nlines of {n}"\n' for n in range(200))
    with pytest.raises(UserError, match=r":402: a quote .* before line 404"):
        rows(tmp_path, f'video,caption\n{good}a.mp4,"opened\nb.mp4,lost\nc.mp4,said so"\n')


def test_a_column_that_is_nearly_called_so_is_refused(tmp_path):
    with pytest.raises(UserError, match="unknown column duration; write duration_s"):
        rows(tmp_path, "video,caption,duration\na.mp4,x,3\n")


def test_a_header_that_is_no_utf8_is_told(tmp_path):
    with pytest.raises(UserError, match=r"not UTF-8.*save it as UTF-8"):
        rows(tmp_path, "video,caption\na.mp4,x\n".encode("utf-16"))
