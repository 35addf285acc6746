"""extract_features and collect_features on a small corpus with the model that train_clip made."""

import json
import shutil

import h5py
import numpy as np
import pytest

from tests.unit.clip import pipeline
from tests.unit.clip.fake_corpus import FRAMES
from workflow_scripts.lib.config import EncoderConfig, freeze
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.features.shards import FOLDERS

KINDS = tuple(FOLDERS)


@pytest.fixture(scope="module")
def folder():
    return pipeline.extracted()


@pytest.fixture
def root(folder, tmp_path):
    """A copy of the features, to spoil."""
    return shutil.copytree(folder / "features", tmp_path / "features")


def readers(root):
    return {kind: FeatureReader(root, kind) for kind in KINDS}


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
        ours, theirs = (FeatureReader(where / "features", kind) for where in (folder, tmp_path))
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
    assert len(FeatureReader(tmp_path, "token")) == 0
    assert len(FeatureReader(tmp_path, "video")) == 5


def test_frames_and_status_that_do_not_fit_are_refused_and_nothing_is_written(folder, tmp_path):
    other = folder / "frames" / "status_001.parquet"
    with pytest.raises(UserError, match="extract_frames again"):
        pipeline.extract(folder, tmp_path, "000", folder / "encoder.yaml", status=other)
    assert not list(tmp_path.rglob("*.hdf5"))


def test_manifest_meta_and_caption_files(folder):
    root = folder / "features"
    manifest = json.loads((root / "video_manifest.json").read_text())
    assert set(manifest) == set(FeatureReader(root, "video"))
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
    (root / "TextData" / "text_shard_001.index.npz").unlink()
    with pytest.raises(UserError, match=r"text_shard_001\.hdf5.*1 keys are missing.*vid_7#cap_2"):
        pipeline.collect(folder, root)
