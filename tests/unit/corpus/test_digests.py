"""Which edits of the annotations change which table's digest."""

import json
import os
import subprocess
import sys

import pytest

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus import digests as module
from workflow_scripts.lib.corpus.digests import annotations_state, table_digests, tables_to_make
from workflow_scripts.lib.errors import UserError


def digests_of(config, cache):
    return table_digests(config, annotations_state(config), cache)


def digests(folder, rows, **settings):
    file = folder / "notes.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    settings = {"videos_per_shard": 2, "shards": 4, **settings}
    config = CorpusConfig(name="c", adapter="jsonl", annotations=file, **settings)
    return digests_of(config, folder / "cache.json")


def rows(count):
    return [{"video": f"{i}.mp4", "caption": f"text {i}"} for i in range(count)]


def changed(before, after):
    assert before.keys() == after.keys()
    return {table for table in before if before[table] != after[table]}


def tables_of(*shards):
    return {f"{table}_{shard:03d}" for table in ("videos", "captions") for shard in shards}


def test_one_digest_a_shard_and_the_same_each_time(tmp_path):
    first = digests(tmp_path, rows(5))
    assert list(first)[:3] == ["videos_000", "captions_000", "videos_001"] and len(first) == 8
    assert len({first[table] for table in tables_of(0, 1, 2)}) == 6
    (tmp_path / "cache.json").unlink()
    assert digests(tmp_path, rows(5)) == first


def test_a_video_at_the_end_changes_the_last_shard_alone(tmp_path):
    before = digests(tmp_path, rows(5))
    assert changed(before, digests(tmp_path, rows(6))) == tables_of(2)
    assert changed(digests(tmp_path, rows(6)), digests(tmp_path, rows(7))) == tables_of(3)


def test_an_edited_caption_changes_the_captions_of_its_shard_alone(tmp_path):
    before, edited = digests(tmp_path, rows(8)), rows(8)
    edited[3]["caption"] = "other"
    assert changed(before, digests(tmp_path, edited)) == {"captions_001"}


def test_a_renamed_video_changes_the_videos_of_its_shard_alone(tmp_path):
    before, edited = digests(tmp_path, rows(8)), rows(8)
    edited[3]["video"] = "동영상.mp4"
    assert changed(before, digests(tmp_path, edited)) == {"videos_001"}


def test_what_is_not_read_changes_nothing(tmp_path):
    before, edited = digests(tmp_path, rows(8)), rows(8)
    edited[3]["licence"] = "CC0"
    assert changed(before, digests(tmp_path, edited)) == set()
    assert changed(before, digests(tmp_path, rows(8), on_problem="quarantine")) == set()


def test_settings_that_make_other_rows_change_the_digests(tmp_path):
    before = digests(tmp_path, rows(8))
    captions = {f"captions_{shard:03d}" for shard in range(4)}
    assert changed(before, digests(tmp_path, rows(8), languages=["ko"])) == captions
    assert digests(tmp_path, rows(8), videos_per_shard=4)["videos_000"] != before["videos_000"]


def test_bad_rows_do_not_prevent_digests(tmp_path):
    bad = {"video": "../x.mp4", "caption": ""}
    assert digests(tmp_path, [bad, *rows(5)]) == digests(tmp_path, rows(5))


def test_a_second_call_does_not_read_the_annotations(tmp_path, monkeypatch):
    first = digests(tmp_path, rows(5))
    config = CorpusConfig(
        name="c", adapter="jsonl", annotations=tmp_path / "notes.jsonl", videos_per_shard=2, shards=4
    )
    monkeypatch.setattr(module, "read_corpus", lambda *_, **__: pytest.fail("read again"))
    assert digests_of(config, tmp_path / "cache.json") == first
    os.utime(tmp_path / "notes.jsonl", ns=(0, 0))
    with pytest.raises(pytest.fail.Exception):
        digests_of(config, tmp_path / "cache.json")


def test_several_files_in_another_order_are_another_corpus(tmp_path):
    for name in "ab":
        (tmp_path / f"{name}.csv").write_text(f"video,caption\n{name}.mp4,x\n")
    a, b = tmp_path / "a.csv", tmp_path / "b.csv"

    def of(annotations):
        return digests_of(
            CorpusConfig(name="c", adapter="csv", annotations=annotations), tmp_path / "cache.json"
        )

    found = [of([a, b]), of([b, a]), of({"train": a, "val": b}), of({"val": b, "train": a}), of([a])]
    assert len({tuple(digests.values()) for digests in found}) == 5


def test_the_state_of_a_folder_is_what_its_annotations_are(tmp_path):
    (tmp_path / "labels" / "x").mkdir(parents=True)
    note, video = tmp_path / "labels" / "x" / "a.json", tmp_path / "labels" / "x" / "a.mp4"
    note.write_text("{}")
    video.touch()
    config = CorpusConfig(name="c", adapter="aihub", annotations=tmp_path / "labels")
    before = annotations_state(config)
    video.write_text("more")  # what is in a video is no annotation
    assert annotations_state(config) == before
    note.write_text("{ }")
    edited = annotations_state(config)
    (tmp_path / "labels" / "b.mp4").touch()
    added = annotations_state(config)
    note.rename(note.with_name("c.json"))
    assert len({before, edited, added, annotations_state(config)}) == 4


def test_a_file_that_an_option_names_is_read_again(tmp_path):
    videos = [{"video_id": f"video{i}", "split": "train"} for i in range(4)]
    sentences = [{"video_id": f"video{i}", "caption": "words"} for i in range(4)]
    (tmp_path / "data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    test = tmp_path / "test.csv"
    config = CorpusConfig(
        name="c", adapter="msrvtt", annotations=tmp_path / "data.json", options={"jsfusion_test": test},
        videos_per_shard=2, shards=2,
    )  # fmt: skip
    found = []
    for video in (0, 1, 3):
        test.write_text(f"video_id,sentence\nvideo{video},once\n")
        os.utime(test, (video, video))
        found.append(digests_of(config, tmp_path / "cache.json"))
    assert changed(found[0], found[1]) == tables_of(0)
    assert changed(found[1], found[2]) == tables_of(0, 1)
    test.unlink()
    with pytest.raises(UserError, match=r"test\.csv.*the option that names it"):
        annotations_state(config)


def test_file_names_that_are_not_utf8_do_not_stop_the_plan(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in (b"\xb0\xa1.mp4", b"\xb0\xa1.txt", b"a.mp4", b"a.txt"):
        (tmp_path / "videos" / os.fsdecode(name)).write_text("a caption")
    config = CorpusConfig(name="c", adapter="folder", annotations=tmp_path / "videos")
    assert len(digests_of(config, tmp_path / "cache.json")) == 2


def test_tables_to_make_are_those_of_another_digest_or_without_a_file(tmp_path):
    told = {"videos_000": "a", "captions_000": "b", "videos_001": "c"}
    assert tables_to_make(told, tmp_path) == list(told)
    for table, digest in told.items():
        (tmp_path / f".digest_{table}.txt").write_text(digest)
        (tmp_path / f"{table}.parquet").touch()
    assert tables_to_make(told, tmp_path) == []
    (tmp_path / "captions_000.parquet").unlink()
    other = {**told, "videos_001": "x", "captions_001": "d"}
    assert tables_to_make(other, tmp_path) == ["captions_000", "videos_001", "captions_001"]


def test_a_long_reading_says_how_far_it_is(tmp_path, monkeypatch, capfd):
    digests(tmp_path, rows(6))
    assert capfd.readouterr().err == ""
    monkeypatch.setattr(module, "SAY_EVERY", 2)
    monkeypatch.setattr(module, "QUIET_S", -1)
    digests(tmp_path, rows(7))
    said = capfd.readouterr().err.splitlines()
    assert [line.split(": ")[1].split(" in ")[0] for line in said] == ["2 videos", "4 videos", "6 videos"]


def test_a_broken_cache_is_made_anew(tmp_path):
    first = digests(tmp_path, rows(5))
    (tmp_path / "cache.json").write_text("[]")
    assert digests(tmp_path, rows(5)) == first


def test_missing_annotations_are_told(tmp_path):
    config = CorpusConfig(name="c", adapter="csv", annotations=tmp_path / "no.csv")
    with pytest.raises(UserError, match=r"no\.csv.*corpus\.annotations"):
        digests_of(config, tmp_path / "cache.json")


def demo(videos=480, shards=3, **drawn):
    corpus = CorpusConfig(
        name="d", adapter="demo", videos_per_shard=240, shards=shards, demo={"videos": videos, **drawn}
    )
    return digests_of(corpus, "/nowhere/cache.json")


def test_demo_needs_no_rendered_file():
    before = demo()
    assert changed(before, demo(videos=481)) == tables_of(2)
    assert changed(before, demo(videos=479)) == tables_of(1)
    assert changed(before, demo(seed=1)) == tables_of(0, 1)
    assert changed(before, demo(moments=2)) == tables_of(0, 1)


def test_digests_import_nothing_heavy():
    code = (
        "import sys, workflow_scripts.lib.corpus.digests\n"
        "heavy = {'torch', 'pyarrow', 'pandas', 'numpy', 'av'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
