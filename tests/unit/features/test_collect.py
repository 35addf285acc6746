"""Manifest and meta of a side, and what is refused before they are written."""

import json
import shutil

import h5py
import numpy as np
import pytest

from tests.unit.features.small_corpus import (
    PER_SHARD,
    change_table,
    frames_of,
    words_of,
    write_features,
    write_shard,
    write_tables,
)
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.collect import collect
from workflow_scripts.lib.features.layout import index_path, shard_path
from workflow_scripts.lib.features.reader import open_features


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Eight videos in two shards, of which video 5 has no features."""
    folder = tmp_path_factory.mktemp("whole")
    write_tables(folder / "표")
    write_features(folder / "특징", without=(5,))
    write_features(folder / "tokens", tokens=True)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "c")
    return tmp_path / "c"


def collected(folder, side, root="특징", shards=2, per_shard=PER_SHARD):
    return collect(folder / root, side, folder / "표", shards, per_shard)


def refused(folder, side, sentence, root="특징", **more):
    with pytest.raises(UserError, match=sentence) as caught:
        collected(folder, side, root, **more)
    assert "\n" not in str(caught.value)
    assert not (folder / root / f"{side}_meta.json").exists()
    assert not (folder / root / f"{side}_manifest.json").exists()


def rewrite(folder, kind, shard, change, root="특징"):
    """Write a shard with other arrays by key."""
    file = shard_path(folder / root, kind, shard)
    with h5py.File(file) as old:
        arrays = {key: old[key][()] for key in open_features(folder / root, kind) if key in old}
    write_shard(folder / root, kind, shard, change(arrays).items())
    return file


def test_meta_counts_keys_by_split_and_the_manifest_has_each_of_them_once(folder):
    assert collected(folder, "video") == 7
    meta = json.loads((folder / "특징/video_meta.json").read_text())
    assert meta == {
        "kind": "video",
        "pattern": "video_shard_%03d.hdf5",
        "per_shard": PER_SHARD,
        "shards": 2,
        "total": 7,
        "splits": {"train": 3, "val": 2, "test": 2},
        "encoder": {"model": "clip"},
    }
    manifest = json.loads((folder / "특징/video_manifest.json").read_text())
    assert list(manifest) == [f"vid_{i}" for i in (0, 1, 2, 3, 4, 6, 7)]
    assert {manifest[f"vid_{i}"] for i in (4, 6, 7)} == {"FeatureData/video_shard_001.hdf5"}


def test_captions_of_videos_without_features_are_counted_with_the_texts(folder):
    assert collected(folder, "text") == 16
    meta = json.loads((folder / "특징/text_meta.json").read_text())
    assert (meta["total"], meta["splits"]) == (16, {"train": 8, "val": 2, "test": 6})
    manifest = json.loads((folder / "특징/text_manifest.json").read_text())
    assert len(manifest) == 16
    assert manifest["vid_5#cap_2"] == "TextData/text_shard_001.hdf5"


@pytest.mark.parametrize("empty", [(0, 1, 2, 3), (4, 5, 6, 7), tuple(range(8))])
def test_shards_without_any_feature_are_whole_too(whole, tmp_path, empty):
    write_features(tmp_path, without=empty, tokens=True)
    assert collect(tmp_path, "video", whole / "표", 2, PER_SHARD) == 8 - len(empty)
    assert len(json.loads((tmp_path / "video_manifest.json").read_text())) == 8 - len(empty)


def test_a_shard_without_its_index_is_asked_itself(folder):
    index_path(shard_path(folder / "특징", "text", 1)).unlink()
    assert collected(folder, "text") == 16


@pytest.mark.parametrize("side, kind", [("video", "video"), ("video", "token"), ("text", "sentence")])
def test_a_missing_shard_is_named(folder, side, kind):
    shard_path(folder / "특징", kind, 1).unlink()
    refused(folder, side, rf"{kind}_shard_001\.hdf5.*missing")


@pytest.mark.parametrize("kind", ["video", "token", "text", "sentence"])
def test_shards_of_two_encoders_are_refused(folder, kind):
    file = shard_path(folder / "특징", kind, 1)
    with h5py.File(file, "r+") as shard:
        shard.attrs["encoder"] = '{"model": "other"}'
    side = "video" if kind in ("video", "token") else "text"
    with pytest.raises(UserError, match=rf"{kind}_shard_001\.hdf5: made by another encoder"):
        collected(folder, side)


def test_features_of_a_video_that_the_corpus_does_not_have(folder):
    rewrite(folder, "video", 0, lambda found: {**found, "vid_9": frames_of(0), "vid_10": frames_of(0)})
    refused(
        folder,
        "video",
        r"video_shard_000\.hdf5: 2 keys that the corpus does not have, the first is 'vid_9'.*extract_video",
    )


@pytest.mark.parametrize("key", ["강아지", "vid_03", "vid_0#cap_0"])
def test_foreign_keys_are_named(folder, key):
    file = shard_path(folder / "특징", "video", 0)
    with h5py.File(file, "r+") as shard:
        shard[key] = frames_of(0).astype(np.float32)
        del shard.attrs["digest"]  # so that its index no longer fits
    refused(
        folder, "video", rf"video_shard_000\.hdf5: 1 keys that the corpus does not have, the first is '{key}'"
    )


@pytest.mark.parametrize("kind", ["text", "sentence"])
def test_every_caption_has_text_and_sentence_features(folder, kind):
    rewrite(folder, kind, 1, lambda found: {key: found[key] for key in found if not key.endswith("#cap_1")})
    refused(
        folder,
        "text",
        rf"{kind}_shard_001\.hdf5: 2 keys are missing, the first is vid_5#cap_1.*extract_text_features",
    )


def test_a_caption_that_is_gone_from_the_corpus(folder):
    change_table(folder / "표/captions_000.parquet", lambda rows: rows[:-1])
    refused(
        folder,
        "text",
        r"text_shard_000\.hdf5: 1 keys that the corpus does not have, the first is 'vid_3#cap_2'",
    )


def test_visual_tokens_are_of_the_same_videos_and_frames(folder):
    assert collected(folder, "video", "tokens") == 8
    (folder / "tokens/video_meta.json").unlink(), (folder / "tokens/video_manifest.json").unlink()
    file = rewrite(folder, "token", 1, lambda found: {**found, "vid_6": found["vid_6"][:0]}, "tokens")
    refused(
        folder,
        "video",
        rf"{file.name}: 1 keys have a wrong number of rows, the first is vid_6 with 0",
        "tokens",
    )
    rewrite(folder, "token", 1, lambda found: {key: found[key] for key in found if key != "vid_4"}, "tokens")
    refused(folder, "video", r"token_shard_001\.hdf5: 1 keys are missing, the first is vid_4", "tokens")


@pytest.mark.parametrize("shard, found", [(0, "has visual tokens of 4 videos"), (1, "4 keys are missing")])
def test_all_shards_have_visual_tokens_or_none_has(folder, shard, found):
    write_shard(folder / "tokens", "token", shard, ())
    refused(folder, "video", found, "tokens")


def test_a_feature_without_rows_and_a_sentence_of_two_are_named(folder):
    rewrite(folder, "video", 0, lambda found: {**found, "vid_2": frames_of(2)[:0]})
    refused(folder, "video", r"video_shard_000\.hdf5: 1 keys .* vid_2 with 0, expected at least 1")
    rewrite(folder, "sentence", 0, lambda found: {**found, "vid_1#cap_2": words_of(1, 2)})
    refused(folder, "text", r"sentence_shard_000\.hdf5: 1 keys .* vid_1#cap_2 with 4, expected 1")


def test_shards_of_two_widths_or_number_formats_are_refused(folder):
    rewrite(folder, "text", 1, lambda found: {key: array[:, :5] for key, array in found.items()})
    refused(
        folder,
        "text",
        r"text_shard_001\.hdf5: vid_4#cap_0 is \[1, 5\] of float32, but vid_0#cap_0 in .*text_shard_000",
    )
    arrays = [(f"vid_{i}", frames_of(i)) for i in (4, 6, 7)]
    write_shard(folder / "특징", "video", 1, arrays, dtype="float16")
    refused(
        folder, "video", r"video_shard_001\.hdf5: vid_4 is \[2, 6\] of float16, but vid_0 in .* of float32"
    )


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda rows: [*rows, rows[-1]], r"captions_001\.parquet: vid_7#cap_2 is there twice"),
        (lambda rows: rows[::-1], r"captions_001\.parquet: vid_7#cap_1 is there twice or out of order"),
        (lambda rows: [{**rows[0], "video": 3}, *rows], r"captions_001\.parquet: vid_3#cap_0 is there twice"),
        (lambda rows: [*rows[:-1], {**rows[-1], "split": "dev"}], r"vid_7#cap_2 is in the split 'dev'"),
        (
            lambda rows: [*rows[:-1], {**rows[-1], "split": "train"}],
            r"vid_7#cap_2 is in the split train.* in test",
        ),
    ],
)
def test_a_key_is_once_in_the_corpus_and_in_one_split(folder, change, sentence):
    change_table(folder / "표/captions_001.parquet", change)
    refused(folder, "text", sentence)


def test_a_video_that_two_shards_of_the_corpus_have(folder):
    change_table(folder / "표/videos_001.parquet", lambda rows: [{**rows[0], "index": 3}, *rows])
    refused(folder, "video", r"videos_001\.parquet: vid_3 is there twice")


def test_tables_of_another_number_of_videos_a_shard(folder):
    refused(folder, "video", r"videos_000\.parquet: vid_3 is not of shard 0, .*videos 0 to 2", per_shard=3)


def test_a_table_that_cannot_be_read(folder):
    (folder / "표/videos_001.parquet").write_bytes(b"PAR1 no table")
    refused(folder, "video", r"videos_001\.parquet: cannot be read as a corpus table")
    (folder / "표/captions_001.parquet").unlink()
    refused(folder, "text", r"captions_001\.parquet: missing")
