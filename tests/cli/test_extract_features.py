"""extract_video_features, extract_text_features and collect_features on a small corpus with the model of train_clip."""

import importlib
import json
import shutil
import signal
import subprocess
import sys
from unittest import mock

import h5py
import numpy as np
import pytest

from tests.unit.clip import pipeline
from tests.unit.clip.fake_corpus import FRAMES
from workflow_scripts.lib.config import EncoderConfig, freeze
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import FOLDERS
from workflow_scripts.lib.features.reader import open_features

KINDS = tuple(FOLDERS)


@pytest.fixture(scope="module")
def folder():
    return pipeline.extracted()


@pytest.fixture
def root(folder, tmp_path):
    """A copy of the features, to spoil."""
    return shutil.copytree(folder / "features", tmp_path / "features")


def readers(root):
    return {kind: open_features(root, kind) for kind in KINDS}


def test_every_video_with_frames_and_every_caption_has_features(folder):
    found = readers(folder / "features")
    videos = {f"vid_{i}" for i in range(12) if i != 3}
    captions = {f"vid_{i}#cap_{j}" for i in range(12) for j in range(4)}
    assert set(found["video"]) == set(found["token"]) == videos
    assert set(found["text"]) == set(found["sentence"]) == captions
    assert all(array.shape == (FRAMES, 32) for array in found["video"].values())
    assert all(array.shape == (FRAMES, 1, 64) for array in found["token"].values())
    for key, sentence in found["sentence"].items():
        assert sentence.shape == (1, 32)
        np.testing.assert_allclose(found["text"][key][-1], sentence[0], atol=1e-3)


def test_plain_h5py_reads_what_the_reader_reads(folder):
    for kind, reader in readers(folder / "features").items():
        for file in (folder / "features" / FOLDERS[kind]).glob("*.hdf5"):
            with h5py.File(file) as plain:
                assert all(np.array_equal(plain[key][()], reader[key]) for key in plain)


def test_videos_do_not_depend_on_how_frames_fall_into_batches(folder, tmp_path):
    section = EncoderConfig(
        name="clip", kind="trained_clip", token_grid=[1, 1], batch_size=7, dtype="float32"
    )
    (tmp_path / "encoder.yaml").write_text(freeze(section), encoding="utf-8")
    pipeline.extract(folder, tmp_path / "features", "000", tmp_path / "encoder.yaml")
    for kind in KINDS:
        ours, theirs = (open_features(where / "features", kind) for where in (folder, tmp_path))
        for key, array in theirs.items():
            assert array.dtype == np.float32
            np.testing.assert_allclose(ours[key], array, atol=5e-3, rtol=5e-3)


def test_extraction_again_gives_the_same_bytes(folder, tmp_path):
    pipeline.extract(folder, tmp_path, "001", folder / "encoder.yaml")
    for name in FOLDERS.values():
        for file in (tmp_path / name).iterdir():
            assert file.read_bytes() == (folder / "features" / name / file.name).read_bytes()


def test_without_a_token_grid_the_token_shard_is_empty(folder, tmp_path):
    (tmp_path / "encoder.yaml").write_text(
        freeze(EncoderConfig(name="c", kind="trained_clip")), encoding="utf-8"
    )
    pipeline.extract(folder, tmp_path, "000", tmp_path / "encoder.yaml")
    assert len(open_features(tmp_path, "token")) == 0
    assert len(open_features(tmp_path, "video")) == 5


def test_frames_and_status_that_do_not_fit_are_refused_and_nothing_is_written(folder, tmp_path):
    other = folder / "frames" / "status_001.parquet"
    with pytest.raises(UserError, match="extract_frames again"):
        pipeline.extract(folder, tmp_path, "000", folder / "encoder.yaml", status=other)
    assert not list(tmp_path.rglob("*.hdf5"))


COMMANDS = {
    "extract_video_features": {
        "video_features": "FeatureData/video_shard_001",
        "token_features": "TokenData/token_shard_001",
    },
    "extract_text_features": {
        "text_features": "TextData/text_shard_001",
        "sentence_features": "SentenceData/sentence_shard_001",
    },
}
# Runs a command, and kills it without notice behind the batch that is named, when that is on the disk.
KILLED = """
import os, runpy, signal, sys
from workflow_scripts.lib.features import planned
command, batches = sys.argv.pop(1), int(sys.argv.pop(1))
commit, planned.COMMIT_S, done = planned.PlannedShard.commit, -1, []
def commit_and_die(shard):
    commit(shard)
    done.append(shard)
    if len(done) == 2 * batches:  # of two shards
        os.kill(os.getpid(), signal.SIGKILL)
planned.PlannedShard.commit = commit_and_die
runpy.run_module(f"workflow_scripts.{command}", run_name="__main__")
"""


def arguments(folder, root, command, config="encoder.yaml"):
    read = {
        "extract_video_features": {
            "frames": folder / "frames/frames_001.tar", "status": folder / "frames/status_001.parquet",
        },
        "extract_text_features": {"captions": folder / "corpus/captions_001.parquet"},
    }[command]  # fmt: skip
    flags = {"config": folder / config, "trained_clip": folder / "trained", "threads": 1} | read
    flags |= {flag: root / f"{file}.hdf5" for flag, file in COMMANDS[command].items()}
    return [text for name, value in flags.items() for text in (f"--{name.replace('_', '-')}", str(value))]


def content(root):
    return {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def same_as(whole, found, command):
    """What a command wrote of shard 001 is what the uninterrupted run has; and there is nothing besides."""
    names = [f"{file}.{end}" for file in COMMANDS[command].values() for end in ("hdf5", "index.arrow")]
    return content(found) == {name: (whole / name).read_bytes() for name in names}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "count", "unit"),
    [("extract_video_features", 6 * FRAMES, "frames"), ("extract_text_features", 6 * 4, "captions")],
)
def test_a_command_that_was_killed_goes_on_with_the_same_bytes(folder, tmp_path, command, count, unit):
    given = arguments(folder, tmp_path, command)
    killed = subprocess.run([sys.executable, "-c", KILLED, command, "2", *given], check=False)
    assert killed.returncode == -signal.SIGKILL
    again = subprocess.run(
        [sys.executable, "-m", f"workflow_scripts.{command}", *given],
        check=True,
        capture_output=True,
        text=True,
    )
    assert f"10 of {count} {unit} are done already" in again.stdout
    assert same_as(folder / "features", tmp_path, command)


TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]


@pytest.mark.slow
def test_two_processes_of_torchrun_give_the_bytes_of_one(folder, tmp_path):
    given = arguments(folder, tmp_path, "extract_video_features")
    subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "workflow_scripts.extract_video_features", *given], check=True
    )
    assert same_as(folder / "features", tmp_path, "extract_video_features")


@pytest.mark.slow
def test_an_error_ends_torchrun_with_its_sentence(folder, tmp_path):
    given = arguments(folder, tmp_path, "extract_video_features")
    given[given.index("--status") + 1] = str(folder / "frames/status_000.parquet")
    ended = subprocess.run(
        [sys.executable, *TORCHRUN, "-m", "workflow_scripts.extract_video_features", *given],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ended.returncode != 0 and "error: " in ended.stderr and "run extract_frames again" in ended.stderr
    assert not content(tmp_path)


@pytest.mark.parametrize(
    ("command", "changes", "said"),
    [
        ("extract_video_features", {"frames": False}, "'e' encodes no frames.*extract_text_features"),
        ("extract_text_features", {"text": "none"}, "'e' encodes no texts.*extract_video_features"),
    ],
)
def test_a_side_that_is_switched_off_is_told(folder, tmp_path, command, changes, said):
    (tmp_path / "encoder.yaml").write_text(
        freeze(EncoderConfig(name="e", kind="trained_clip", **changes)), encoding="utf-8"
    )
    given = arguments(folder, tmp_path, command, config=tmp_path / "encoder.yaml")
    with pytest.raises(UserError, match=said), mock.patch.object(sys, "argv", [command, *given]):
        importlib.import_module(f"workflow_scripts.{command}").main()


def test_manifest_meta_and_caption_files(folder):
    root = folder / "features"
    manifest = json.loads((root / "video_manifest.json").read_text())
    assert set(manifest) == set(open_features(root, "video"))
    for key, file in manifest.items():
        with h5py.File(root / file) as shard:
            assert key in shard
    meta = json.loads((root / "text_meta.json").read_text())
    assert meta["total"] == sum(meta["splits"].values()) == 48
    assert (meta["per_shard"], meta["pattern"]) == (6, "text_shard_%03d.hdf5")
    assert json.loads((root / "video_meta.json").read_text())["splits"] == {"train": 7, "val": 2, "test": 2}
    lines = {}
    for split in ("train", "val", "test"):
        for line in (root / f"TextData/tiny{split}.caption.txt").read_text(encoding="utf-8").splitlines():
            key, text = line.split(" ", 1)
            lines[key] = text
    assert set(lines) == {f"vid_{i}#cap_{j}" for i in range(12) if i != 3 for j in range(4)}
    assert lines["vid_0#cap_1"] == "빨간 사각형이 있다"


def test_a_missing_shard_is_named(folder, root):
    (root / "SentenceData" / "sentence_shard_001.hdf5").unlink()
    with pytest.raises(UserError, match=r"sentence_shard_001\.hdf5.*missing"):
        pipeline.collect(folder, root)


def test_a_shard_of_another_encoder_is_named(folder, root):
    with h5py.File(root / "TextData" / "text_shard_001.hdf5", "a") as file:
        file.attrs["encoder"] = json.dumps({"model": "other"})
    with pytest.raises(UserError, match=r"text_shard_001\.hdf5.*another encoder"):
        pipeline.collect(folder, root)


def test_keys_that_are_missing_or_too_many_are_named(folder, root):
    shutil.copy(root / "TextData" / "text_shard_000.hdf5", root / "TextData" / "text_shard_001.hdf5")
    with pytest.raises(UserError, match=r"text_shard_001\.hdf5.*vid_0#cap_0"):
        pipeline.collect(folder, root)
    with h5py.File(folder / "features/TextData/text_shard_001.hdf5") as whole:
        kept = {key: whole[key][()] for key in whole if key != "vid_7#cap_2"}
        about = dict(whole.attrs)
    with h5py.File(root / "TextData" / "text_shard_001.hdf5", "w") as file:
        file.attrs.update(about)
        for key, array in kept.items():
            file[key] = array
    (root / "TextData" / "text_shard_001.index.arrow").unlink()
    with pytest.raises(UserError, match=r"text_shard_001\.hdf5.*1 keys are missing.*vid_7#cap_2"):
        pipeline.collect(folder, root)
