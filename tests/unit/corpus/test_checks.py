"""The checks that all formats share: what each kind of problem says, splits, ids, and files."""

import json
import random
import unicodedata

import pytest

from tests.unit.corpus.checked import read, read_all
from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.annotations import PROBLEMS, Problem
from workflow_scripts.lib.corpus.checks import read_corpus
from workflow_scripts.lib.corpus.seen import HashTable, hashed_split
from workflow_scripts.lib.errors import UserError

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
    ("jsonl", b'{"video": "a.mp4", "caption": "x", "duration_s": -1}', 2, "bad_moment"),
    ("jsonl", b'{"video": "a.mp4", "caption": "x", "id": "\\ud800"}', 2, "bad_encoding"),
    ("jsonl", b'{"video": "a.mp4", "caption": "%s"}' % (b"x" * 2001), 2, "long_caption"),
    ("csv", b"b.mp4,x\nlink.mp4,y\n", 3, "path_outside_root"),
    ("csv", b"b.mp4,x\ngone.mp4,y\n", 3, "missing_file"),
    (
        "jsonl",
        b'{"video": "a.mp4", "duration_s": 9, "captions": [{"text": "x", "start_s": 9}]}',
        2,
        "moment_outside",
    ),
    (
        "jsonl",
        b'{"video": "a.mp4", "duration_s": 9, "captions": [{"text": "x", "end_s": 10.1}]}',
        2,
        "moment_outside",
    ),
    (
        "jsonl",
        b'{"video": "a.mp4", "clip_start_s": 5, "clip_end_s": 8, "captions": [{"text": "x", "start_s": 5}]}',
        2,
        "moment_outside",
    ),
    (
        "jsonl",
        b'{"video": "a.mp4", "caption": "x", "id": "1"}\n{"video": "b.mp4", "caption": "x", "id": "1"}',
        3,
        "duplicate_id",
    ),
    (
        "jsonl",
        b'{"video": "z.mp4", "caption": "x", "split": "val", "clip_end_s": 5}',
        2,
        "split_leak",
    ),
]
HEAD = {"csv": b"video,caption\n", "jsonl": b'{"video": "z.mp4", "caption": "fine", "split": "test"}\n'}
OF_FORMATS = {"no_time", "no_video"}  # kinds that some adapters find, and the checks do not


@pytest.mark.parametrize(("adapter", "text", "line", "kind"), PROBLEM_ROWS)
def test_each_problem_has_its_kind_and_line(tmp_path, adapter, text, line, kind):
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path)
    (tmp_path / "outside.mp4").touch()
    (root / "link.mp4").symlink_to(tmp_path / "outside.mp4")
    for name in ("a", "b", "z", "c\n"):
        (root / f"{name}.mp4").touch()
    videos, _, problems = read(tmp_path, HEAD[adapter] + text, adapter, root=root, check_files=True)
    assert (problems[0].line, problems[0].kind) == (line, kind), problems
    assert videos, "the other rows are still read"
    assert [video["index"] for video in videos] == list(range(len(videos)))
    sentence = problems[0].sentence("no file")
    assert sentence.startswith(f"{tmp_path}/notes.{adapter}:{line}: ")
    assert sentence.endswith(PROBLEMS[kind])


def test_every_kind_of_problem_is_tried():
    assert {kind for *_, kind in PROBLEM_ROWS} == set(PROBLEMS) - OF_FORMATS


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
        list(read_corpus(config, print))


def test_hashed_splits_keep_their_shares_and_do_not_move():
    splits = [hashed_split(f"videos/{i}.mp4", 0.1, 0.2) for i in range(5000)]
    assert abs(splits.count("val") / 5000 - 0.1) < 0.02
    assert abs(splits.count("test") / 5000 - 0.2) < 0.02
    assert splits == [hashed_split(f"videos/{i}.mp4", 0.1, 0.2) for i in range(5000)]
    assert hashed_split("a", 0, 0) == "train"


def lines(*rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


def clip(path, split=None, source=None, start=None, **more):
    row = {"video": path, "caption": "x", "split": split, "source": source, "clip_start_s": start, **more}
    return {key: value for key, value in row.items() if value is not None}


def test_a_clip_without_a_split_goes_where_its_source_is(tmp_path):
    wanted = "val" if hashed_split("long", 0.1, 0.1) != "val" else "test"
    text = lines(
        clip("1.mp4", wanted, "long"), clip("2.mp4", None, "long"), clip("2.mp4", None, "long", start=3)
    )
    videos, _, problems = read(tmp_path, text, "jsonl")
    assert not problems
    assert [(video["source"], video["split"]) for video in videos] == [("long", wanted)] * 3


def test_hashed_splits_never_part_a_source_and_do_not_move_when_clips_are_added(tmp_path):
    rows = [clip(f"{i}.mp4", source=f"source {i // 4}") for i in range(400)]
    videos, _, problems = read(tmp_path, lines(*rows), "jsonl", val_share=0.3, test_share=0.3)
    assert not problems
    splits = {video["path"]: video["split"] for video in videos}
    assert all(len({splits[f"{4 * i + j}.mp4"] for j in range(4)}) == 1 for i in range(100))
    assert set(splits.values()) == {"train", "val", "test"}
    random.Random(0).shuffle(rows)
    more = [clip(f"new {i}.mp4", source=f"source {i}") for i in range(200)]
    videos, _, _ = read(tmp_path, lines(*more, *rows), "jsonl", val_share=0.3, test_share=0.3)
    assert splits.items() <= {video["path"]: video["split"] for video in videos}.items()


@pytest.mark.parametrize("composition", ["NFC", "NFD"])
def test_both_spellings_of_a_name_are_one_video(tmp_path, composition):
    names = [unicodedata.normalize(form, "영상.mp4") for form in ("NFC", composition)]
    videos, _, problems = read(tmp_path, lines(clip(names[0]), clip("a.mp4"), clip(names[1])), "jsonl")
    assert [video["path"] for video in videos] == [names[0], "a.mp4"]
    assert [(each.line, each.kind) for each in problems] == [(3, "duplicate_video")]


def test_captions_are_composed(tmp_path):
    """So that a query finds them, however they were typed."""
    text, word = "강아지가 공을 잡는다", "강아지"
    captions = [
        {"text": unicodedata.normalize(form, text), "language": "en",
         "attributes": {"object": unicodedata.normalize(form, word)}}
        for form in ("NFD", "NFC")
    ]  # fmt: skip
    _, (found,), problems = read(tmp_path, lines({"video": "a.mp4", "captions": captions}), "jsonl")
    assert [(row["text"], row["attributes"]) for row in found] == [(text, [("object", word)])]
    assert [each.kind for each in problems] == ["duplicate_caption"]


LEAKS = {
    "two annotated splits of one file": [clip("a.mp4", "train", start=0), clip("a.mp4", "test", start=5)],
    "of one named source": [clip("a.mp4", "train", "s"), clip("b.mp4", "test", "s")],
    "a file, and clips of another source in it": [
        clip("a.mp4", "train", "s"),
        clip("a.mp4", "test", start=5),
    ],
    "the same video": [clip("a.mp4", "train"), clip("a.mp4", "test")],
    "hashed first": [
        clip("a.mp4"),
        clip("a.mp4", "val" if hashed_split("a.mp4", 0.1, 0.1) == "test" else "test"),
    ],
}


@pytest.mark.parametrize("name", LEAKS)
def test_a_source_in_two_splits_is_a_leak_that_names_both_places(tmp_path, name):
    videos, _, problems = read(tmp_path, lines(clip("z.mp4"), *LEAKS[name]), "jsonl")
    assert len(videos) == 2
    assert [(each.line, each.kind) for each in problems] == [(3, "split_leak")]
    assert f"({tmp_path}/notes.jsonl:2" in problems[0].what
    assert ("by the hash" in problems[0].what) == (name == "hashed first")


def test_ids(tmp_path):
    rows = [
        clip("a.mp4", id="1", start=0), clip("a.mp4", id="1", start=4), clip("b.mp4", id="b.mp4"), clip("c.mp4"),
        clip("d/e.mp4", id="e", source="e"), clip("f/e.mp4", id="e", source="e"), clip("f/g.mp4", id="1"),
        clip("h1.mp4", source="h", id="h 1"), clip("h.mp4", source="h", id="h"), clip("i.mp4", source="h", id="h"),
    ]  # fmt: skip
    videos, _, problems = read(tmp_path, lines(*rows), "jsonl")
    assert [video["id"] for video in videos] == ["1", "1", "b.mp4", "c.mp4", "e", "h 1", "h"]
    assert [(each.line, each.kind) for each in problems] == [(line, "duplicate_id") for line in (6, 7, 10)]


def test_a_whole_file_and_clips_of_it_are_different_videos(tmp_path):
    rows = [clip("a.mp4", start=2), clip("a.mp4"), clip("a.mp4", start=2), clip("./a.mp4")]
    videos, _, problems = read(tmp_path, lines(*rows), "jsonl")
    assert [video["start_s"] for video in videos] == [2.0, None]
    assert [(each.line, each.kind) for each in problems] == [(3, "duplicate_video"), (4, "duplicate_video")]


def test_several_files_with_a_split_each(tmp_path):
    (tmp_path / "a.csv").write_text("video,caption,split\na.mp4,x,\nb.mp4,x,train\nc.mp4,x,test\n")
    (tmp_path / "b.csv").write_text("video,caption\nd.mp4,x\na.mp4,x\ne.mp4,\n")
    files = {"train": tmp_path / "a.csv", "val": tmp_path / "b.csv"}
    videos, captions, problems = read_all({"adapter": "csv", "annotations": files})
    assert [(video["index"], video["path"], video["split"]) for video in videos] == [
        (0, "a.mp4", "train"), (1, "b.mp4", "train"), (2, "d.mp4", "val"),
    ]  # fmt: skip
    assert [row["split"] for rows in captions for row in rows] == ["train", "train", "val"]
    assert [(each.file.name, each.line, each.kind) for each in problems] == [
        ("a.csv", 4, "bad_split"), ("b.csv", 3, "split_leak"), ("b.csv", 4, "empty_caption"), ("b.csv", 4, "no_caption"),
    ]  # fmt: skip
    assert f"{tmp_path}/a.csv:2" in problems[1].what


def test_entries_are_called_entries(tmp_path):
    problem = Problem(3, "no_caption", "nothing", tmp_path / "x.json")
    assert problem.sentence(tmp_path, "entry").startswith(f"{tmp_path}/x.json: entry 3: nothing; ")
    assert problem.row(tmp_path)["file"] == f"{tmp_path}/x.json"


def test_a_missing_file_is_told_and_its_video_stays(tmp_path):
    (tmp_path / "영상").mkdir()
    (tmp_path / "영상" / "a.webm").touch()
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "broken.mp4").symlink_to(tmp_path / "nowhere")
    text = "video,caption\n영상/a.*,x\n영상/b.*,x\nfolder.mp4,x\nbroken.mp4,x\nno/c.mp4,x\n"
    videos, _, problems = read(tmp_path, text, check_files=True)
    assert [video["index"] for video in videos] == list(range(5))
    assert [(each.line, each.kind) for each in problems] == [(line, "missing_file") for line in (3, 4, 5, 6)]
    assert read(tmp_path, text, check_files=False)[0] == videos


def test_moments_near_the_end_are_inside(tmp_path):
    moments = [{"text": f"{end}", "start_s": 1, "end_s": end} for end in (50, 51, 52, 52.5)]
    text = lines(
        {"video": "a.mp4", "duration_s": 50, "captions": moments},
        {"video": "b.mp4", "duration_s": 0, "captions": moments},
    )
    videos, captions, problems = read(tmp_path, text, "jsonl")
    assert not problems
    assert [video["duration_s"] for video in videos] == [50.0, 0.0]
    assert [len(rows) for rows in captions] == [4, 4]


def test_the_hash_table_is_a_dict():
    chance, table, right = random.Random(0), HashTable(), {}
    for _ in range(20_000):
        key, value = (
            chance.choice([str(chance.randint(0, 5000)), chance.randint(-5000, 5000)]),
            chance.getrandbits(63),
        )
        if chance.random() < 0.2 and key in right:
            table.replace(key, value)
            right[key] = value
        else:
            assert table.add(key, value) == right.get(key)
            right.setdefault(key, value)
