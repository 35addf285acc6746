"""The files that start an import again are those that it reads."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from workflow_scripts.lib.config import ImportedEncoder
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.imports.run import FORMATS, Import
from workflow_scripts.lib.features.imports.sources import source_files


def write_pt(folder: Path) -> None:
    torch.save(torch.zeros(1, 2, 3), folder / "train_video_0.pt")
    torch.save(torch.zeros(1, 3), folder / "train_text_0.pt")


def write_texts(folder: Path) -> None:
    (folder / "TextData").mkdir()
    (folder / "TextData" / "미니train.caption.txt").write_text("영상#0 말\n", encoding="utf-8")
    with h5py.File(folder / "TextData" / "roberta_미니_query_feat.hdf5", "w") as file:
        file["영상#0"] = np.zeros((2, 4), dtype=np.float32)


def write_bigfile(folder: Path) -> None:
    write_texts(folder)
    visual = folder / "FeatureData" / "i3d"
    visual.mkdir(parents=True)
    (visual / "shape.txt").write_text("1 3\n")
    (visual / "id.txt").write_text("frame_0\n")
    np.zeros((1, 3), dtype="<f4").tofile(visual / "feature.bin")
    (visual / "video2frames.txt").write_text("{'영상': ['frame_0']}", encoding="utf-8")


def write_hdf5(folder: Path) -> None:
    write_texts(folder)
    (folder / "FeatureData" / "i3d").mkdir(parents=True)
    with h5py.File(folder / "FeatureData" / "i3d" / "feature.hdf5", "w") as file:
        file["영상"] = np.zeros((2, 3), dtype=np.float32)


def write_sharded(folder: Path) -> None:
    write_texts(folder)
    for side, key in (("Feature", "영상"), ("Text", "영상#0")):
        (folder / f"{side}Data").mkdir(exist_ok=True)
        kind = "video" if side == "Feature" else "text"
        name = f"{side}Data/{kind}_shard_000.hdf5"
        with h5py.File(folder / name, "w") as file:
            file[key] = np.zeros((2, 3), dtype=np.float32)
        (folder / f"{kind}_manifest.json").write_text(json.dumps({key: name}))
    (folder / "TextData" / "roberta_미니_query_feat.hdf5").unlink()


WRITERS = {"webvid_pt": write_pt, "bigfile": write_bigfile, "hdf5": write_hdf5, "sharded": write_sharded}


@pytest.mark.parametrize("kind", WRITERS)
def test_they_are_those_that_the_import_reads(tmp_path, kind):
    WRITERS[kind](tmp_path)
    (tmp_path / "README").touch()
    source = FORMATS[kind](Import(kind, tmp_path, "c", 10))
    read = sorted(map(str, source.files))
    source.close()
    assert source_files(ImportedEncoder(name="x", kind="imported", format=kind, source=tmp_path)) == read


@pytest.mark.parametrize("kind", ["bigfile", "hdf5"])
def test_features_that_lie_elsewhere_behind_a_link(tmp_path, kind):
    WRITERS[kind](tmp_path)
    visual = tmp_path / "FeatureData" / "i3d"
    visual.rename(tmp_path / "elsewhere")
    visual.symlink_to(tmp_path / "elsewhere")
    (tmp_path / "FeatureData" / "._i3d.hdf5").touch()  # as macOS leaves it
    source = FORMATS[kind](Import(kind, tmp_path, "c", 10))
    source.close()
    assert visual in {file.parent for file in source.files}
    found = source_files(ImportedEncoder(name="x", kind="imported", format=kind, source=tmp_path))
    assert found == sorted(map(str, source.files))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_folder_without_them_is_named(tmp_path, kind):
    encoder = ImportedEncoder(name="x", kind="imported", format=kind, source=tmp_path)
    with pytest.raises(UserError, match=f"'x'.*{tmp_path}.*{kind}"):
        source_files(encoder)
