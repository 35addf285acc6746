"""The `webvid` format."""

import pytest

from tests.unit.corpus.adapters.reading import read
from workflow_scripts.lib.corpus.adapters.webvid import duration_seconds
from workflow_scripts.lib.errors import UserError

OF_2M = "videoid,name,page_idx,page_dir,duration,contentUrl\n"
OF_10M = "videoid,contentUrl,duration,page_dir,name\n"


def rows(folder, text, **options):
    return read("webvid", folder / "results_2M_val.csv", text, **options)


def test_columns_of_2m_and_10m_by_their_names(tmp_path):
    two, no_problems = rows(
        tmp_path, OF_2M + "101,A horse.,28620,054101_054150,PT00H00M24S,https://x/101.mp4\n"
    )
    ten, none = rows(tmp_path, OF_10M + "101,https://x/101.mp4,PT00H00M24S,054101_054150,A horse.\n")
    assert two == ten
    assert no_problems == none == []
    [video] = two
    assert (video.path, video.id, video.source) == ("videos/054101_054150/101.mp4", "101", "101")
    assert (video.duration_s, video.start_s, video.end_s, video.split) == (24.0, None, None, None)
    assert [(c.text, c.line) for c in video.captions] == [("A horse.", 2)]


def test_captions_with_commas_quotes_line_breaks_and_any_script(tmp_path):
    text = (
        f'{OF_10M}1,u,PT00H00M01S,p,"Rain, ""heavy"", at night"\n2,u,PT00H00M01S,p,"two\nlines, of a caption"\n\n'
        '3,u,PT00H00M01S,p,"말, 그리고\r\n1,2,3,4"\n4,u,PT00H00M01S,p,红色的圆\n'
    )
    videos, problems = rows(tmp_path, text)
    assert problems == []
    assert [(v.id, v.line, v.captions[0].text) for v in videos] == [
        ("1", 2, 'Rain, "heavy", at night'),
        ("2", 3, "two\nlines, of a caption"),
        ("3", 6, "말, 그리고\r\n1,2,3,4"),
        ("4", 8, "红色的圆"),
    ]


@pytest.mark.parametrize(
    ("row", "what"),
    [
        ("2,u,PT00H00M01S,p,Rain, at night", "6 cells, but the header names 5 columns"),
        ("2,u,PT00H00M01S,p", "4 cells, but the header names 5 columns"),
        (",u,PT00H00M01S,p,Rain", "no videoid"),
        ("2,u,24,p,Rain", "a duration like PT00H00M24S is expected, found '24'"),
        ("2,u,PT,p,Rain", "a duration like PT00H00M24S is expected, found 'PT'"),
        ('2,u,PT00H00M01S,p,"Rain', "not readable as CSV: unexpected end of data"),
    ],
)
def test_a_bad_row_hides_no_other(tmp_path, row, what):
    videos, problems = rows(tmp_path, f"{OF_10M}1,u,PT00H00M01S,p,Rain\n{row}")
    assert problems == [(3, "bad_row", what)]
    assert [video.id for video in videos] == ["1"]


def test_a_stray_quote_swallows_no_rows_in_silence(tmp_path):
    text = f'{OF_10M}1,u,PT00H00M01S,p,"Rain\n2,u,PT00H00M01S,p,Snow\n3,u,PT00H00M01S,p,Hail"\n'
    with pytest.raises(UserError, match=r"results_2M_val\.csv:2: a quote"):
        rows(tmp_path, text)


def test_another_place_of_the_videos(tmp_path):
    text = "videoid,name,shard\n101,A horse.,한국\n"
    [video], _ = rows(tmp_path, text, video_path="{shard}/{videoid:>06}.*")
    assert (video.path, video.duration_s) == ("한국/000101.*", None)


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("videos/{page_dir}/{videoid}.mp4", "needs page_dir; the rows have videoid, name, name.x"),
        ("{videoid", "is no pattern"),
        ("{}.mp4", "needs a name"),
        ("{videoid:d}.mp4", "cannot be filled in"),
        ("{name.x}.mp4", "cannot be filled in"),
    ],
)
def test_a_pattern_that_the_rows_cannot_fill(tmp_path, pattern, says):
    with pytest.raises(UserError, match=says):
        rows(tmp_path, "videoid,name,name.x\n101,A horse.,\n", video_path=pattern)


def test_a_missing_column_is_told_with_those_found(tmp_path):
    with pytest.raises(UserError, match=r":1: no column name; found the columns: videoid, caption"):
        rows(tmp_path, "videoid,caption\n101,A horse.\n")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("PT00H00M24S", 24), ("PT01H02M03S", 3723), ("PT5M", 300), ("PT0.5S", 0.5), ("", None)],
)
def test_durations(text, seconds):
    assert duration_seconds(text) == seconds
