"""Shards of features: written whole, read by plain h5py and by the memory map alike."""

import json
import pickle
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import FOLDERS, PATTERNS, index_path
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter

ENCODER = {"model": "test"}


def arrays(count=20, start=0, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(0, 9, count)
    return {
        f"vid_{start + i}": rng.standard_normal((n, 16)).astype(np.float16) for i, n in enumerate(lengths)
    }


def write(root, found, shard=0, kind="video", encoder=ENCODER, dtype="float16"):
    path = root / FOLDERS[kind] / (PATTERNS[kind] % shard)
    with ShardWriter(path, encoder, dtype) as writer:
        for key, array in found.items():
            writer.write(key, array)
    return path


def same(reader, found):
    return set(reader) == set(found) and all(
        np.array_equal(reader[key], array) and reader[key].shape == array.shape
        for key, array in found.items()
    )


def test_plain_h5py_and_reader_agree(tmp_path):
    found = arrays()
    path = write(tmp_path, found)
    with h5py.File(path) as file:
        assert set(file) == set(found)
        assert all(np.array_equal(file[key][()], array) for key, array in found.items())
        assert json.loads(file.attrs["encoder"]) == ENCODER
    assert same(open_features(tmp_path, "video"), found)


@pytest.mark.parametrize("sidecar", ["missing", "of another shard", "garbage"])
def test_offsets_come_from_the_hdf5_when_the_sidecar_does_not_serve(tmp_path, sidecar):
    found = arrays()
    path = write(tmp_path, found)
    if sidecar == "missing":
        index_path(path).unlink()
    elif sidecar == "garbage":
        index_path(path).write_bytes(b"no index at all")
    else:
        other = write(tmp_path / "other", arrays(seed=1))
        index_path(path).write_bytes(index_path(other).read_bytes())
    assert same(open_features(tmp_path, "video"), found)


def test_arrays_cannot_be_written_to_and_the_reader_pickles(tmp_path):
    found = arrays()
    write(tmp_path, found)
    reader = open_features(tmp_path, "video")
    with pytest.raises(ValueError, match="read-only"):
        next(array for array in reader.values() if array.size)[0, 0] = 1
    assert same(pickle.loads(pickle.dumps(reader)), found)


def test_several_shards_are_found_by_meta_manifest_and_pattern(tmp_path):
    first, second = arrays(), arrays(start=20, seed=1)
    write(tmp_path, first), write(tmp_path, second, shard=1)
    write(tmp_path, arrays(start=40, seed=2), shard=2)
    assert len(open_features(tmp_path, "video")) == 60
    manifest = dict.fromkeys(first, "FeatureData/video_shard_000.hdf5")
    manifest |= dict.fromkeys(second, "FeatureData/video_shard_001.hdf5")
    (tmp_path / "video_manifest.json").write_text(json.dumps(manifest))
    assert same(open_features(tmp_path, "video"), first | second)
    meta = {"pattern": PATTERNS["video"], "per_shard": 20, "shards": 1, "total": 20}
    (tmp_path / "video_meta.json").write_text(json.dumps(meta))
    assert same(open_features(tmp_path, "video"), first)


def test_shards_written_elsewhere_are_read(tmp_path):
    found = {key: array for key, array in arrays().items() if array.size}
    folder = tmp_path / "FeatureData"
    folder.mkdir()
    with h5py.File(folder / "video_shard_000.hdf5", "w") as file:
        for key, array in found.items():
            file.create_dataset(key, data=array, compression="gzip")
    assert same(open_features(tmp_path, "video"), found)


def test_a_missing_key_is_named_with_its_folder(tmp_path):
    write(tmp_path, arrays())
    with pytest.raises(UserError, match=r"FeatureData.*'vid_99'"):
        open_features(tmp_path, "video")["vid_99"]


def test_no_shards_at_all(tmp_path):
    with pytest.raises(UserError, match=r"TokenData.*run the step that makes them"):
        len(open_features(tmp_path, "token"))


@pytest.mark.parametrize("keep_sidecar", [True, False])
def test_a_truncated_shard_is_refused_by_name(tmp_path, keep_sidecar):
    path = write(tmp_path, arrays())
    if not keep_sidecar:
        index_path(path).unlink()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"video_shard_000\.hdf5"):
        len(open_features(tmp_path, "video"))


def test_shards_of_different_encoders_are_not_mixed(tmp_path):
    write(tmp_path, arrays())
    write(tmp_path, arrays(start=20), shard=1, encoder={"model": "other"})
    with pytest.raises(UserError, match=r"video_shard_001\.hdf5.*another encoder"):
        len(open_features(tmp_path, "video"))


def test_a_key_in_two_shards_is_refused(tmp_path):
    write(tmp_path, arrays())
    write(tmp_path, arrays(), shard=1)
    with pytest.raises(UserError, match="two shards"):
        len(open_features(tmp_path, "video"))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_and_nothing_is_left(tmp_path, bad):
    with pytest.raises(UserError, match=r"vid_1.*NaN"):
        write(tmp_path, {"vid_0": np.ones((2, 3)), "vid_1": np.array([[1.0, bad]])})
    assert list((tmp_path / "FeatureData").iterdir()) == []


def test_overflow_of_float16_asks_for_float32(tmp_path):
    large = {"vid_0": np.full((1, 2), 1e5, np.float32)}
    with pytest.raises(UserError, match=r"vid_0.*float32"):
        write(tmp_path, large)
    write(tmp_path, large, dtype="float32")
    assert open_features(tmp_path, "video")["vid_0"].dtype == np.float32


def test_the_same_features_give_the_same_bytes(tmp_path):
    first, second = (write(tmp_path / name, arrays()) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert index_path(first).read_bytes() == index_path(second).read_bytes()


def test_an_empty_shard_can_be_read(tmp_path):
    write(tmp_path, {}, kind="token")
    assert len(open_features(tmp_path, "token")) == 0


def test_a_killed_writer_leaves_no_shard_and_can_be_run_again(tmp_path):
    script = (
        "import os, signal, sys, numpy as np; from pathlib import Path\n"
        "from workflow_scripts.lib.features.shards import ShardWriter\n"
        "with ShardWriter(Path(sys.argv[1]), {'model': 'test'}) as writer:\n"
        "    writer.write('vid_0', np.ones((2, 3)))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "FeatureData" / "video_shard_000.hdf5"
    killed = subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(UserError, match="run the step that makes them"):
        len(open_features(tmp_path, "video"))
    found = arrays()
    write(tmp_path, found)
    assert same(open_features(tmp_path, "video"), found)
