"""verify_features on a small corpus with real frames and a real model: what is wrong is named, and mended by a rerun."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.clip import pipeline
from workflow_scripts.lib.config import EncoderConfig, freeze
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import shard_path
from workflow_scripts.lib.features.shards import ShardWriter

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder():
    return pipeline.extracted()


@pytest.fixture
def root(folder, tmp_path):
    """A copy of the features, to spoil."""
    return shutil.copytree(folder / "features", tmp_path / "features")


def verify(folder, root, **flags) -> int:
    """Run the command with all that it can be given; gives its exit code."""
    given = {
        "root": root, "frames": folder / "frames", "corpus": folder / "corpus",
        "config": folder / "encoder.yaml", "trained_clip": folder / "trained", "threads": 1,
    }  # fmt: skip
    flags = {name: value for name, value in (given | flags).items() if value is not None}
    try:
        pipeline.run("verify_features", **flags)
    except SystemExit as end:
        return end.code
    return 0


def rewrite(file, order):
    """Write a shard anew, with right checksums, where each key has the features of `order`'s key."""
    with h5py.File(file) as shard:
        encoder = json.loads(shard.attrs["encoder"])
        arrays = {key: shard[order.get(key, key)][()] for key in shard}
    numbers = {key: tuple(map(int, key.removeprefix("vid_").split("#cap_"))) for key in arrays}
    with ShardWriter(file, encoder) as writer:
        for key in sorted(arrays, key=numbers.get):
            writer.write(key, arrays[key])


def test_sound_features_pass_at_all_three_depths(folder, root, capsys):
    assert verify(folder, root) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-4:-1]] == ["structure", "values", "recompute"]
    assert "11 videos and 48 captions encoded again" in lines[-2]
    assert "no problem in 8 shards, 118 of 118 items read, 59 encoded again" in lines[-1]


def test_features_of_other_videos_are_found_though_their_checksums_are_right(folder, root, capsys):
    rewrite(shard_path(root, "video", 0), {"vid_1": "vid_4", "vid_4": "vid_1"})
    assert verify(folder, root, config=None) == 0, "no checksum can tell"
    assert "recompute: left out" in capsys.readouterr().out
    assert verify(folder, root) == 1
    found = [line for line in capsys.readouterr().out.splitlines() if "holds" in line]
    assert len(found) == 2
    assert "video_shard_000.hdf5: vid_1: holds the features of vid_4" in found[0]
    assert "video_shard_000.hdf5: vid_4: holds the features of vid_1" in found[1]


def test_features_of_other_captions_are_found(folder, root, tmp_path):
    swapped = {"vid_7#cap_0": "vid_7#cap_1", "vid_7#cap_1": "vid_7#cap_0"}
    rewrite(shard_path(root, "text", 1), swapped)
    rewrite(shard_path(root, "sentence", 1), {"vid_8#cap_0": "vid_9#cap_0"})
    assert verify(folder, root, frames=None, problems=tmp_path / "found.jsonl") == 1
    found = [json.loads(line) for line in (tmp_path / "found.jsonl").read_text().splitlines()]
    assert {(Path(row["file"]).name, row["key"]) for row in found} == {
        ("text_shard_001.hdf5", "vid_7#cap_0"),
        ("text_shard_001.hdf5", "vid_7#cap_1"),
        ("sentence_shard_001.hdf5", "vid_8#cap_0"),
    }


def test_visual_tokens_are_compared_too(folder, root, capsys):
    rewrite(shard_path(root, "token", 0), {"vid_1": "vid_4"})
    assert verify(folder, root, corpus=None) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if "vid_1" in line]
    assert "token_shard_000.hdf5" in line and "holds the features of vid_4" in line


def test_another_model_is_one_sentence(folder, root, tmp_path, capsys):
    section = EncoderConfig(
        name="clip", kind="trained_clip", token_grid=[1, 1], batch_size=5, precision="bf16"
    )
    (tmp_path / "encoder.yaml").write_text(freeze(section), encoding="utf-8")
    assert verify(folder, root, config=tmp_path / "encoder.yaml", corpus=None) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [("fp32" in line and "bf16" in line) for line in lines].count(True) == 1
    assert "0 videos and 0 captions encoded again" in lines[-2]


def test_frames_that_are_gone_or_damaged_do_not_stop_it(folder, root, tmp_path, capsys):
    frames = shutil.copytree(folder / "frames", tmp_path / "frames")
    (frames / "frames_000.tar").unlink()
    assert verify(folder, root, frames=frames, corpus=None) == 0
    assert "frames of shard 0 are not there" in capsys.readouterr().out
    tar = frames / "frames_001.tar"
    tar.write_bytes(tar.read_bytes()[:700] + bytes(400) + tar.read_bytes()[1100:])
    assert verify(folder, root, frames=frames, corpus=None) == 1
    assert "cannot be encoded again" in capsys.readouterr().out


def test_a_caption_that_the_corpus_has_no_more_is_told(folder, root, tmp_path, capsys):
    corpus = shutil.copytree(folder / "corpus", tmp_path / "corpus")
    table = pq.read_table(corpus / "captions_001.parquet")
    pq.write_table(table.slice(1), corpus / "captions_001.parquet")
    assert verify(folder, root, corpus=corpus, frames=None) == 1
    assert "no caption vid_6#cap_0" in capsys.readouterr().out


def test_a_wrong_caption_text_is_found(folder, root, tmp_path, capsys):
    corpus = shutil.copytree(folder / "corpus", tmp_path / "corpus")
    table = pq.read_table(corpus / "captions_001.parquet")
    rows = table.to_pylist()
    rows[3]["text"] = "세 마리의 고양이"
    pq.write_table(type(table).from_pylist(rows, table.schema), corpus / "captions_001.parquet")
    assert verify(folder, root, corpus=corpus, frames=None) == 1
    assert rows[3]["key"] in capsys.readouterr().out


def test_damage_at_several_depths_is_told_once_each(folder, root, tmp_path):
    file = shard_path(root, "video", 1)
    file.write_bytes(file.read_bytes()[:-50])
    with h5py.File(shard_path(root, "token", 0), "r+") as shard:
        shard["vid_2"][0] = np.nan
    found = tmp_path / "found.jsonl"
    assert verify(folder, root, problems=found) == 1
    rows = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
    assert [(Path(row["file"]).name, row["key"]) for row in rows] == [
        ("video_shard_001.hdf5", None),
        ("token_shard_000.hdf5", "vid_2"),
    ]


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"root": Path("/nowhere")}, "--root /nowhere: no such folder"),
        ({"sample": 0}, "--sample 0"),
        ({"frames": None, "corpus": None}, "--frames"),
        ({"trained_clip": None}, "--trained-clip"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(folder, root, flags, message):
    with pytest.raises(UserError, match=message):
        verify(folder, flags.pop("root", root), **flags)


@pytest.mark.slow
def test_it_is_a_command_that_ends_with_1_and_a_summary(folder, root):
    with h5py.File(shard_path(root, "video", 0), "r+") as shard:
        shard["vid_2"][...] = 0
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "workflow_scripts.verify_features",
            "--root",
            str(root),
            "--quick",
            "--threads",
            "2",
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and not done.stderr.strip()
    lines = done.stdout.splitlines()
    assert "vid_2: all its numbers are zero" in done.stdout and "1 problems in 8 shards" in lines[-1]
