"""The written tables, the list of problems, and the cut into shards."""

import json

import pyarrow.parquet as pq
import pytest

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus import ingest as module
from workflow_scripts.lib.corpus.ingest import ingest
from workflow_scripts.lib.corpus.shards import write_shard
from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS, read_rows, read_shards
from workflow_scripts.lib.errors import UserError


def run(folder, lines, **settings):
    """Ingest these csv lines; the three outputs."""
    file = folder / "notes.csv"
    file.write_text("video,caption\n" + "".join(line + "\n" for line in lines), encoding="utf-8")
    settings = {"videos_per_shard": 4, "shards": 3, "check_files": False, **settings}
    config = CorpusConfig(name="c", adapter="csv", annotations=file, **settings)
    outputs = [folder / name for name in ("videos.parquet", "captions.parquet", "problems.jsonl")]
    ingest(config, *outputs)
    return outputs


def rows(count):
    return [f"v{i}.mp4,caption {i} {j}" for i in range(count) for j in range(2)]


def write_shards(folder, shard):
    """Both tables of a shard of four videos, from `videos.parquet` and `captions.parquet` there."""
    for table in ("videos", "captions"):
        write_shard(table, folder / f"{table}.parquet", shard, 4, folder / f"{table}_{shard:03d}.parquet")


def test_shards_put_together_are_the_corpus(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "ROWS_PER_GROUP", 3)  # several row groups
    _, _, problems = run(tmp_path, rows(10))
    assert problems.read_text() == ""
    for shard in range(3):
        write_shards(tmp_path, shard)
    assert [len(read_shards(tmp_path, "videos", n)) for n in (1, 2, 3)] == [4, 8, 10]
    assert read_shards(tmp_path, "videos", 3).schema.equals(VIDEOS)
    assert read_shards(tmp_path, "captions", 3).schema.equals(CAPTIONS)
    assert [row["index"] for row in read_rows(tmp_path, "videos", 3)] == list(range(10))
    together = list(read_rows(tmp_path, "captions", 3))
    assert [row["key"] for row in together] == [f"vid_{i}#cap_{j}" for i in range(10) for j in range(2)]
    assert together[-1]["text"] == "caption 9 1"


def test_shard_beyond_the_corpus_is_empty(tmp_path):
    run(tmp_path, rows(3))
    for shard in range(3):
        write_shards(tmp_path, shard)
    assert [len(read_shards(tmp_path, "videos", shards)) for shards in (1, 2, 3)] == [3, 3, 3]
    assert len(read_shards(tmp_path, "captions", 3)) == 6


def test_problems_fail_with_the_first_ten_and_are_listed(tmp_path):
    bad = [f"b{i}.mp4," for i in range(8)]
    with pytest.raises(UserError) as error:
        run(tmp_path, rows(2) + bad)
    assert f"{tmp_path}/notes.csv:6: the caption is empty; write the caption" in str(error.value)
    assert "16 problems (8 empty_caption, 8 no_caption)" in str(error.value)
    assert "and 6 more" in str(error.value)
    assert "on_problem" in str(error.value)
    assert not (tmp_path / "videos.parquet").exists()
    listed = [json.loads(line) for line in (tmp_path / "problems.jsonl").read_text().splitlines()]
    assert len(listed) == 16
    assert listed[0] == {
        "file": f"{tmp_path}/notes.csv", "line": 6, "kind": "empty_caption", "what": "the caption is empty",
    }  # fmt: skip


def test_quarantine_leaves_out_and_lists(tmp_path):
    _, _, problems = run(tmp_path, ["bad.mp4,", *rows(2)], on_problem="quarantine")
    assert len(problems.read_text().splitlines()) == 2
    write_shards(tmp_path, 0)
    assert [row["path"] for row in read_rows(tmp_path, "videos", 1)] == ["v0.mp4", "v1.mp4"]


def test_more_videos_than_shards_take(tmp_path):
    with pytest.raises(UserError, match=r"13 videos.*set corpus\.shards to 4"):
        run(tmp_path, rows(13))


def test_no_usable_video(tmp_path):
    with pytest.raises(UserError, match=r"notes\.csv: no video"):
        run(tmp_path, [])


def test_missing_files_stop_under_fail_and_stay_in_the_table_under_quarantine(tmp_path):
    (tmp_path / "v1.mp4").touch()
    with pytest.raises(UserError, match=r"notes\.csv:2: there is no file 'v0\.mp4'"):
        run(tmp_path, rows(2), check_files=True)
    videos, _, problems = run(tmp_path, rows(2), check_files=True, on_problem="quarantine")
    assert [json.loads(line)["kind"] for line in problems.read_text().splitlines()] == ["missing_file"]
    assert pq.read_table(videos)["path"].to_pylist() == ["v0.mp4", "v1.mp4"]


@pytest.mark.parametrize("on_problem", ["fail", "quarantine"])
def test_a_leak_is_always_refused_and_listed(tmp_path, on_problem):
    for name, video in (("train", "a"), ("test", "b")):
        (tmp_path / f"{name}.jsonl").write_text(
            f'{{"video": "{video}.mp4", "caption": "x", "source": "long"}}\n'
        )
    files = {name: tmp_path / f"{name}.jsonl" for name in ("train", "test")}
    config = CorpusConfig(
        name="c", adapter="jsonl", annotations=files, on_problem=on_problem, check_files=False
    )
    outputs = [tmp_path / name for name in ("v", "c", "p")]
    with pytest.raises(UserError) as error:
        ingest(config, *outputs)
    assert (
        f"{tmp_path}/test.jsonl:1: a clip of 'long' in 'test', and one in 'train' ({tmp_path}/train.jsonl:1)"
        in str(error.value)
    )
    [problem] = map(json.loads, outputs[2].read_text().splitlines())
    assert (problem["file"], problem["kind"]) == (f"{tmp_path}/test.jsonl", "split_leak")
    assert not outputs[0].exists()


def test_all_columns_of_a_video(tmp_path):
    row = {"video": "a.mp4", "id": "열", "source": "s", "duration_s": 4.5, "clip_start_s": 2, "caption": "x"}
    (tmp_path / "n.jsonl").write_text(
        json.dumps(row) + '\n{"video": "b.mp4", "caption": "x", "split": "val"}\n'
    )
    config = CorpusConfig(
        name="c",
        adapter="jsonl",
        annotations=tmp_path / "n.jsonl",
        check_files=False,
        val_share=0,
        test_share=0,
    )
    ingest(config, tmp_path / "v", tmp_path / "c", tmp_path / "p")
    assert [list(each.values()) for each in pq.read_table(tmp_path / "v").to_pylist()] == [
        [0, "열", "a.mp4", "s", 2.0, None, "train", 4.5],
        [1, "b.mp4", "b.mp4", "b.mp4", None, None, "val", None],
    ]
