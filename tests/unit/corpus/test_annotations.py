"""Our own formats, csv and jsonl, through all checks: which rows of the tables they give."""

import json

import pytest

from tests.unit.corpus.checked import read
from workflow_scripts.lib.corpus.adapters.csv_rows import read_csv
from workflow_scripts.lib.corpus.annotations import AdapterOptions
from workflow_scripts.lib.errors import UserError


def test_csv_of_any_script_with_bom_quotes_and_line_breaks(tmp_path):
    text = (
        '\ufeffvideo,caption,lang,split\r\n한국/영상 1.mp4,"그가 말했다, ""좋아""",ko,train\r\n'
        '한국/영상 1.mp4,"two\nlines\tand a tab",en,train\r\n中文.mp4,一个红色的圆,zh,test\r\n'
    )
    videos, captions, problems = read(tmp_path, text)
    assert not problems
    assert [(v["index"], v["path"], v["split"]) for v in videos] == [
        (0, "한국/영상 1.mp4", "train"),
        (1, "中文.mp4", "test"),
    ]
    assert [c["text"] for c in captions[0]] == ['그가 말했다, "좋아"', "two lines and a tab"]
    assert [c["key"] for c in captions[0]] == ["vid_0#cap_0", "vid_0#cap_1"]
    assert captions[1][0]["language"] == "zh"


def test_csv_columns_in_any_order_with_moments_and_clips(tmp_path):
    text = "Caption , end_s,VIDEO,start_s,clip_start_s,clip_end_s,other\nhi,2,a.mp4,1.5,10,20,x\nho,,a.mp4,,30,40,y\n"
    videos, captions, problems = read(tmp_path, text)
    assert not problems
    assert [(v["path"], v["start_s"], v["end_s"]) for v in videos] == [("a.mp4", 10, 20), ("a.mp4", 30, 40)]
    assert (captions[0][0]["start_s"], captions[0][0]["end_s"]) == (1.5, 2.0)
    assert (captions[1][0]["start_s"], captions[1][0]["end_s"]) == (None, None)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("path,caption", "no column video; found the columns: path, caption"),
        ("video\tcaption", "no column video and caption"),
        ("", "found the columns: none"),
        ("video,caption,caption", "caption is there more than once"),
        ("video,caption,clip_start", "unknown column clip_start; write clip_start_s"),
    ],
)
def test_wrong_header_is_told_with_the_columns_found(tmp_path, header, says):
    with pytest.raises(UserError, match=r"notes\.csv:1: ") as error:
        read(tmp_path, f"{header}\na.mp4,x\n")
    assert says in str(error.value)


def test_jsonl_forms(tmp_path):
    rows = [
        {"video": "a.mp4", "caption": "one", "id": 7},
        {"video": "b.mp4", "captions": ["one", "two"], "split": "val"},
        {
            "video": "c.mp4",
            "clip_start_s": 1,
            "captions": [
                {"lang": "ko", "text": "원", "start_s": 0, "end_s": 2, "attributes": {"shape": "원"}}
            ],
        },
    ]
    videos, captions, problems = read(tmp_path, "\n\n".join(json.dumps(row) for row in rows), "jsonl")
    assert not problems
    assert [[c["text"] for c in cs] for cs in captions] == [["one"], ["one", "two"], ["원"]]
    assert videos[1]["split"] == "val"
    assert videos[2]["start_s"] == 1.0
    assert captions[2][0]["attributes"] == [("shape", "원")]
    assert captions[0][0]["language"] == "en"  # the first language is that of captions without one


def test_rows_of_one_video_in_two_splits(tmp_path):
    videos, captions, problems = read(tmp_path, "video,caption,split\na.mp4,x,train\na.mp4,y,test\n")
    assert [(p.line, p.kind) for p in problems] == [(3, "bad_split")]
    assert videos[0]["split"] == "train"
    assert [c["text"] for c in captions[0]] == ["x"]


@pytest.mark.parametrize(
    "text",
    [
        'video,caption\na.mp4,"never closed\nb.mp4,lost\n',
        'video,caption\na.mp4,"opened\nb.mp4,lost\nc.mp4,said so"\n',
        'video,caption\na.mp4,"opened\nc.mp4,said so"\n',
    ],
)
def test_a_stray_quote_swallows_no_rows_in_silence(tmp_path, text):
    file = tmp_path / "captions.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"captions\.csv:2: a quote"):
        list(read_csv(file, AdapterOptions()))


def test_a_quoted_caption_may_have_lines_of_its_own(tmp_path):
    file = tmp_path / "captions.csv"
    file.write_text('video,caption\na.mp4,"one\ntwo, and three"\n', encoding="utf-8")
    [video] = read_csv(file, AdapterOptions())
    assert video.captions[0].text == "one\ntwo, and three"
