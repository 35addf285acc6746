"""Features that lie in many HDF5s, with a manifest or a meta file, come in as those of one do."""

import json
import shutil

import h5py
import numpy as np
import pytest

from tests.unit.features.gmmformer_roots import CAPTIONS, write_root
from tests.unit.features.test_importing import arrays, run
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.imports.run import FORMATS, Import, import_features

OWN = {
    "train": [("vid_0#cap_0", "노란 나비"), ("vid_0#cap_1", "a butterfly"), ("vid_3#cap_0", "a dog")],
    "test": [("vid_2#cap_0", "one")],
}
FOREIGN = {split: CAPTIONS[split] for split in ("train", "test")}
SIDES = {"video": "FeatureData", "text": "TextData"}


def write_shards(root, captions, told="manifest", captions_in="TextData"):
    """Two shards a side, gzip datasets as other writers make them; returns the arrays by id."""
    random = np.random.default_rng(0)
    texts = {
        id_: random.standard_normal((len(text), 3)).astype("f4")
        for lines in captions.values()
        for id_, text in lines
    }
    videos = {
        id_: random.standard_normal((5, 4)).astype("f4")
        for id_ in dict.fromkeys(id_.partition("#")[0] for id_ in texts)
    }
    for side, features in (("video", videos), ("text", texts)):
        manifest = {}
        (root / SIDES[side]).mkdir(parents=True)
        for row, (id_, array) in enumerate(features.items()):
            number = (
                int(id_.removeprefix("vid_").partition("#")[0]) // 2 if id_.startswith("vid_") else row % 2
            )
            manifest[id_] = f"{SIDES[side]}/{side}_shard_{number:03d}.hdf5"
            with h5py.File(root / manifest[id_], "a") as file:
                file.create_dataset(id_, data=array, compression="gzip")
        meta = {"per_shard": 2, "pattern": f"{side}_shard_%03d.hdf5", "total": len(features)}
        content = meta if told == "meta" else manifest
        (root / f"{side}_{told}.json").write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    for split, lines in captions.items():
        content = "".join(f"{id_} {text}\n" for id_, text in lines)
        (root / captions_in / f"mini{split}.caption.txt").write_text(content, encoding="utf-8")
    return videos, texts


@pytest.mark.parametrize("captions_in", ["TextData", "."])
@pytest.mark.parametrize(("captions", "told"), [(OWN, "manifest"), (OWN, "meta"), (FOREIGN, "manifest")])
def test_they_come_in_exactly(tmp_path, captions, told, captions_in):
    videos, texts = write_shards(tmp_path / "source", captions, told, captions_in)
    found = run(tmp_path, "sharded")
    assert found["not_taken"] == []
    lines = {id_: text for lines in captions.values() for id_, text in lines}
    assert sorted(row["text"] for row in found["captions"]) == sorted(lines.values())
    splits = {id_.partition("#")[0]: split for split, lines in captions.items() for id_, _ in lines}
    assert {row["id"]: row["split"] for row in found["videos"]} == splits
    here = arrays(found, "video")
    for row in found["videos"]:
        assert np.array_equal(here[f"vid_{row['index']}"], videos[row["id"]])
    here = arrays(found, "text")
    ids = {text: id_ for id_, text in lines.items()}
    assert len(here) == len(texts)
    for row in found["captions"]:
        assert np.array_equal(here[row["key"]], texts[ids[row["text"]]])
    if captions is OWN:
        assert [row["index"] for row in found["videos"]] == [0, 2, 3]
        assert {row["key"] for row in found["captions"]} == set(texts)


def test_the_pipelines_own_features_come_in_again(tmp_path):
    write_root(tmp_path / "source", "hdf5")
    once = run(tmp_path, "hdf5")
    other = tmp_path / "another machine"
    other.mkdir()
    shutil.move(once["root"], other / "source")
    again = run(other, "sharded", videos_per_shard=3)
    first = {"root": other / "source"}
    for kind in ("video", "text"):
        wanted, here = arrays(first, kind), arrays(again, kind)
        assert wanted.keys() == here.keys()
        assert all(np.array_equal(here[key], wanted[key]) for key in wanted)
    assert again["not_taken"] == []
    assert [row["key"] for row in again["captions"]] == [row["key"] for row in once["captions"]]


def test_what_cannot_be_taken_is_listed(tmp_path):
    root = tmp_path / "source"
    write_shards(root, OWN, "meta")
    with h5py.File(root / "FeatureData" / "video_shard_000.hdf5", "a") as file:
        file["vid_1"] = np.ones((1, 4), "f4")  # without a caption
    with h5py.File(root / "FeatureData" / "video_shard_001.hdf5", "a") as file:
        del file["vid_3"]
    with h5py.File(root / "TextData" / "text_shard_000.hdf5", "a") as file:
        del file["vid_0#cap_1"]
        file["vid_0#cap_1"] = np.full((2, 3), np.nan, "f4")
    found = run(tmp_path, "sharded")
    assert sorted(found["not_taken"]) == [
        ("caption_without_features", "minitrain.caption.txt", "vid_0#cap_1", 1),
        ("text_without_video", "minitrain.caption.txt", "vid_3#cap_0", 1),
        ("unreadable", "TextData", "vid_0#cap_1", 1),
        ("video_without_text", "FeatureData", "vid_1", 1),
    ]
    assert [row["key"] for row in found["captions"]] == ["vid_0#cap_0", "vid_2#cap_0"]


def test_a_manifest_that_is_out_of_date_ends_the_import(tmp_path):
    write_shards(tmp_path / "source", FOREIGN)
    with h5py.File(tmp_path / "source" / "FeatureData" / "video_shard_000.hdf5", "a") as file:
        del file["나비"]
    with pytest.raises(
        UserError, match=r"video_shard_000\.hdf5: has no key 나비, which .*video_manifest\.json says"
    ):
        run(tmp_path, "sharded")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_shards_of_two_widths_end_the_import(tmp_path):
    write_shards(tmp_path / "source", OWN)
    with h5py.File(tmp_path / "source" / "FeatureData" / "video_shard_001.hdf5", "a") as file:
        for key in list(file):
            del file[key]
            file[key] = np.ones((5, 6), "f4")
    with pytest.raises(UserError, match=r"video_shard_001\.hdf5: key vid_2 has rows \[6\]"):
        run(tmp_path, "sharded")


@pytest.mark.parametrize(("folder", "expected"), [("FeatureData/a", True), ("elsewhere", False)])
def test_shards_deeper_down_are_tracked_and_others_refused(tmp_path, folder, expected):
    root = tmp_path / "source"
    write_shards(root, FOREIGN)
    (root / folder).mkdir()
    manifest = json.loads((root / "video_manifest.json").read_text())
    moved = {key: f"{folder}/{file.rpartition('/')[2]}" for key, file in manifest.items()}
    for file in set(manifest.values()):
        (root / file).rename(root / folder / file.rpartition("/")[2])
    (root / "video_manifest.json").write_text(json.dumps(moved))
    job = Import("sharded", root, "c", 2)
    if expected:
        source = FORMATS["sharded"](job)
        assert {root / file for file in moved.values()} <= set(source.files)
        source.close()
    else:
        with pytest.raises(UserError, match=r"elsewhere/video_shard_000\.hdf5: lies neither in FeatureData"):
            FORMATS["sharded"](job)


def test_a_shard_that_is_missing_is_named(tmp_path):
    write_shards(tmp_path / "source", OWN)
    (tmp_path / "source" / "TextData" / "text_shard_001.hdf5").unlink()
    with pytest.raises(UserError, match=r"text_shard_001\.hdf5, which is missing"):
        run(tmp_path, "sharded")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_name_of_one_of_several_features_is_refused(tmp_path):
    write_shards(tmp_path / "source", OWN)
    job = Import("sharded", tmp_path / "source", "c", 2, visual="clip")
    with pytest.raises(UserError, match=r"--visual: goes with --format bigfile or hdf5, not with sharded"):
        import_features(job, tmp_path / "features", tmp_path / "corpus")
