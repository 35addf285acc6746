"""Failed videos are tried again after their cause is mended, and nothing else is done again."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.frames.numbered import write
from workflow_scripts.lib.config import parse_config
from workflow_scripts.lib.corpus.tables import VIDEOS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.pool import Limits
from workflow_scripts.lib.frames.reasons import REASONS
from workflow_scripts.lib.frames.retry import files_of, find_failed, prepare, request_of
from workflow_scripts.lib.frames.shard import read_status
from workflow_scripts.lib.frames.stage import EXTRACT, Executor, extract_shard

pytestmark = pytest.mark.slow

VIDEOS_MADE, PER_SHARD = 6, 3
CONFIG = {
    "run": "test",
    "corpus": {
        "name": "c", "adapter": "jsonl", "annotations": "videos/annotations.jsonl", "shards": 2,
        "videos_per_shard": PER_SHARD,
    },
    "frames": {"count": 3, "size": [32, 64]},
    "features": {"encoders": [{"name": "e", "kind": "open_clip", "model": "ViT-B-32"}]},
}  # fmt: skip


@pytest.fixture
def run_folder(tmp_path, monkeypatch):
    """Where snakemake would be started: two shards of three videos, of which 1 is missing and 2 empty."""
    monkeypatch.chdir(tmp_path)
    Path("videos").mkdir()
    for i in range(VIDEOS_MADE):
        write(Path(f"videos/영상 {i}.mp4"), frames=10 + i)
    rows = [
        {"index": i, "id": str(i), "path": f"영상 {i}.mp4", "source": str(i), "split": "val"}
        for i in range(VIDEOS_MADE)
    ]
    for shard in range(2):
        some = rows[shard * PER_SHARD : (shard + 1) * PER_SHARD]
        file = files_of(config(), shard).videos
        file.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(some, VIDEOS), file)
    Path("videos/영상 1.mp4").rename("aside")
    Path("videos/영상 2.mp4").rename("aside 2")
    Path("videos/영상 2.mp4").touch()
    return tmp_path


def config(**frames):
    return parse_config({**CONFIG, "frames": {**CONFIG["frames"], **frames}})


def extract(shard, function=EXTRACT):
    """The job, as Snakemake runs it: the outputs of before are removed first."""
    files = files_of(config(), shard)
    for file in (files.tar, files.status):
        file.unlink(missing_ok=True)
    extract_shard(config().frames, Limits(max_bad_fraction=1), files, Executor(2, function=function))


def mend():
    shutil.copy("aside", "videos/영상 1.mp4")
    shutil.copy("aside 2", "videos/영상 2.mp4")


def content(folder="resources/c/frames"):
    rows = read_status(folder, 2)
    for row in rows:
        row.pop("seconds")
    return rows, [Path(folder, f"frames_00{shard}.tar").read_bytes() for shard in range(2)]


def test_only_what_failed_runs_again_and_gives_what_a_run_without_failures_gives(run_folder):
    extract(0), extract(1)
    mend()
    found = find_failed(config(), REASONS)
    assert (found.again, found.removed, found.unfinished) == ({0: Counter(missing=1, empty=1)}, {}, [])
    untouched = files_of(config(), 1).status.stat()
    prepare(config(), 0, REASONS)
    assert request_of(config(), 0) == Path("resources/c/frames/retry_000.json")  # as in rules/frames.smk
    assert files_of(config(), 1).status.stat() == untouched
    extract(0, "tests.unit.frames.hostile:noted")
    tasks = Path("videos/tasks.jsonl").read_text().split()
    assert sorted(tasks) == ["[1]", "[2]"]
    again = content()
    shutil.rmtree("resources/c/frames")
    extract(0), extract(1)
    assert again == content()
    assert find_failed(config(), REASONS).again == {}


def test_only_the_reasons_asked_for(run_folder):
    extract(0), extract(1)
    mend()
    assert find_failed(config(), ["missing"]).again == {0: Counter(missing=1)}
    prepare(config(), 0, ["missing"])
    extract(0)
    assert [row["reason"] for row in content()[0][:3]] == [None, None, "empty"]
    assert find_failed(config(), ["missing"]).again == {}


def test_what_is_asked_for_one_after_the_other_is_done_together(run_folder):
    extract(0), extract(1)
    mend()
    prepare(config(), 0, ["missing"])
    first = request_of(config(), 0).read_text()
    prepare(config(), 0, ["empty"])
    assert request_of(config(), 0).read_text() != first
    extract(0)
    assert [row["reason"] for row in content()[0]] == [None] * VIDEOS_MADE


def test_what_was_asked_for_and_done_is_not_done_again(run_folder):
    extract(0), extract(1)
    prepare(config(), 0, ["missing"])
    extract(0)  # not mended
    mend()
    prepare(config(), 0, ["empty"])
    extract(0)
    assert [row["reason"] for row in content()[0][:3]] == [None, "missing", None]


@pytest.mark.parametrize("killed_at", ["os.link", "pathlib.Path.replace", "json.dumps"])
def test_killed_in_between_nothing_is_lost(run_folder, monkeypatch, killed_at):
    extract(0), extract(1)
    before = content()

    def kill(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(killed_at, kill)
        prepare(config(), 0, REASONS)
    assert content() == before
    mend()
    prepare(config(), 0, REASONS)
    extract(0)
    assert [row["reason"] for row in content()[0]] == [None] * VIDEOS_MADE


def test_a_retry_that_is_killed_leaves_the_finished_tar_as_it_was(run_folder):
    extract(0), extract(1)
    linked = Path("tar of before")
    os.link(files_of(config(), 0).tar, linked)
    before = linked.read_bytes()
    prepare(config(), 0, REASONS)
    with pytest.raises(UserError):  # still not mended: the journal stays
        extract_shard(config().frames, Limits(max_bad_fraction=0), files_of(config(), 0), Executor())
    mend()
    extract(0)
    assert linked.read_bytes() == before
    assert [row["reason"] for row in content()[0]] == [None] * VIDEOS_MADE


def test_shards_without_their_tar_are_left(run_folder):
    extract(0), extract(1)
    files_of(config(), 0).tar.unlink()
    found = find_failed(config(), REASONS)
    assert (found.again, found.removed) == ({}, {0: Counter(missing=1, empty=1)})


def test_shards_that_were_made_otherwise_are_refused(run_folder):
    extract(0), extract(1)
    with pytest.raises(UserError, match=r"status_000.*the section `frames` changed.*plain run"):
        find_failed(config(count=2), REASONS)
    assert find_failed(config(timeout_s=7, keep=False), REASONS).again
    table = pq.read_table(files_of(config(), 0).videos).slice(0, 2)
    pq.write_table(table, files_of(config(), 0).videos)
    with pytest.raises(UserError, match="its videos changed"):
        find_failed(config(), REASONS)


@pytest.mark.parametrize("table", ["videos", "status"])
def test_broken_tables_get_a_sentence(run_folder, table):
    extract(0), extract(1)
    file = getattr(files_of(config(), 0), table)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=f"shard 000: a table cannot be read.*{file.name}"):
        find_failed(config(), REASONS)


def test_a_tar_that_lost_frames_gets_a_sentence(run_folder):
    extract(0), extract(1)
    file = files_of(config(), 0).tar
    file.write_bytes(bytes(1024))
    with pytest.raises(UserError, match=r"frames_000.tar: no frames of video 0"):
        prepare(config(), 0, REASONS)


def test_unfinished_shards_are_told(run_folder):
    extract(1)
    assert find_failed(config(), REASONS).unfinished == [0]
