"""Adapters and checks: what is read, and what each kind of problem says."""

import json

import pytest

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.adapters.csv_rows import read_csv
from workflow_scripts.lib.corpus.annotations import PROBLEMS, AdapterOptions
from workflow_scripts.lib.corpus.checks import hashed_split, read_corpus
from workflow_scripts.lib.errors import UserError


def read(folder, text, adapter="csv", **settings):
    """Videos, captions and problems of an annotation file with that text."""
    file = folder / f"notes.{adapter}"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    config = CorpusConfig(
        name="c", adapter=adapter, annotations=file, **{"languages": ["en", "ko", "zh"], **settings}
    )
    problems = []
    rows = list(read_corpus(config, file, problems.append))
    return [video for video, _ in rows], [captions for _, captions in rows], problems


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


PROBLEM_ROWS = [
    ("csv", b"a.mp4,\nb.mp4,x", 2, "empty_caption"),
    ("csv", b"b.mp4,x\na.mp4,y\nb.mp4,z", 4, "duplicate_video"),
    ("csv", b"b.mp4,x\n./b.mp4,y", 3, "duplicate_video"),
    ("csv", b"b.mp4,x\nb.mp4,y\nb.mp4,x", 4, "duplicate_caption"),
    ("csv", b"b.mp4,x\n../a.mp4,y", 3, "path_outside_root"),
    ("csv", b"b.mp4,x\n/etc/passwd,y", 3, "path_outside_root"),
    ("csv", b"b.mp4,x\nlink/a.mp4,y", 3, "path_outside_root"),
    ("csv", b"b.mp4,x\na.mp4,y,z", 3, "bad_row"),
    ("csv", b'b.mp4,x\na.mp4,"y', 3, "bad_row"),
    ("csv", b"b.mp4,x\n,y", 3, "bad_row"),
    ("csv", b'b.mp4,x\n"c\n.mp4",ok\na.mp4,\xff\xfe', 5, "bad_encoding"),
    ("csv", b"b.mp4,x\n\xff.mp4,y", 3, "bad_encoding"),
    ("jsonl", b'{"video": "a.mp4", "caption": "x"', 2, "bad_row"),
    ("jsonl", b"[1]", 2, "bad_row"),
    ("jsonl", b'{"caption": "x"}', 2, "bad_row"),
    ("jsonl", b'{"video": "a.mp4"}', 2, "bad_row"),
    ("jsonl", b'{"video": "a.mp4", "captions": [3]}', 2, "bad_row"),
    ("jsonl", b'{"video": "a.mp4", "captions": [{"text": "x", "attributes": [1]}]}', 2, "bad_row"),
    ("jsonl", b'{"video": "a.mp4", "captions": [{"text": "x", "start_s": "soon"}]}', 2, "bad_row"),
    ("jsonl", b'{"video": "a.mp4", "captions": []}', 2, "no_caption"),
    ("jsonl", b'{"video": "a.mp4", "caption": "\\ud800"}', 2, "bad_encoding"),
    ("jsonl", b'{"video": "a.mp4", "captions": [{"text": "x", "start_s": 2, "end_s": 2}]}', 2, "bad_moment"),
    ("jsonl", b'{"video": "a.mp4", "captions": [{"text": "x", "start_s": -1}]}', 2, "bad_moment"),
    ("jsonl", b'{"video": "a.mp4", "captions": [{"text": "x", "end_s": NaN}]}', 2, "bad_moment"),
    ("jsonl", b'{"video": "a.mp4", "clip_start_s": 5, "clip_end_s": 4, "caption": "x"}', 2, "bad_moment"),
    ("jsonl", b'{"video": "a.mp4", "captions": [{"text": "x", "lang": "fr"}]}', 2, "unknown_language"),
    ("jsonl", b'{"video": "a.mp4", "caption": "x", "split": "dev"}', 2, "bad_split"),
]
HEAD = {"csv": b"video,caption\n", "jsonl": b'{"video": "z.mp4", "caption": "fine"}\n'}


@pytest.mark.parametrize(("adapter", "text", "line", "kind"), PROBLEM_ROWS)
def test_each_problem_has_its_kind_and_line(tmp_path, adapter, text, line, kind):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    videos, _, problems = read(tmp_path, HEAD[adapter] + text, adapter, root=root)
    assert (problems[0].line, problems[0].kind) == (line, kind), problems
    assert videos, "the other rows are still read"
    assert [video["index"] for video in videos] == list(range(len(videos)))
    sentence = problems[0].sentence(tmp_path / "notes")
    assert sentence.startswith(f"{tmp_path}/notes:{line}: ")
    assert sentence.endswith(PROBLEMS[kind])


def test_every_kind_of_problem_is_tried():
    assert {kind for *_, kind in PROBLEM_ROWS} == set(PROBLEMS)


def test_rows_of_one_video_in_two_splits(tmp_path):
    videos, captions, problems = read(tmp_path, "video,caption,split\na.mp4,x,train\na.mp4,y,test\n")
    assert [(p.line, p.kind) for p in problems] == [(3, "bad_split")]
    assert videos[0]["split"] == "train"
    assert [c["text"] for c in captions[0]] == ["x"]


def test_paths_inside_the_root_however_they_are_written(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "alias").symlink_to(tmp_path / "root")
    text = f"video,caption\n{tmp_path}/root/a.mp4,x\n{tmp_path}/alias/b.mp4,x\nd/../c.mp4,x\n..x/e.mp4,x\n"
    videos, _, problems = read(tmp_path, text, root=tmp_path / "root")
    assert not problems
    assert [video["path"] for video in videos] == ["a.mp4", "b.mp4", "c.mp4", "..x/e.mp4"]


def test_missing_annotation_file_is_told(tmp_path):
    config = CorpusConfig(name="c", adapter="csv", annotations=tmp_path / "no.csv")
    with pytest.raises(UserError, match=r"no\.csv.*corpus\.annotations"):
        list(read_corpus(config, tmp_path / "no.csv", print))


def test_hashed_splits_keep_their_shares_and_do_not_move():
    splits = [hashed_split(f"videos/{i}.mp4", 0.1, 0.2) for i in range(5000)]
    assert abs(splits.count("val") / 5000 - 0.1) < 0.02
    assert abs(splits.count("test") / 5000 - 0.2) < 0.02
    assert splits == [hashed_split(f"videos/{i}.mp4", 0.1, 0.2) for i in range(5000)]
    assert hashed_split("a", 0, 0) == "train"


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
