"""The original's data root from our features: read as the original reads, and brought back."""

import json

import h5py
import numpy as np
import pytest

from tests.unit.features.gmmformer_roots import read_as_the_original
from workflow_scripts.lib.corpus.tables import read_rows
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.exporting import LAYOUTS, Export, export_features
from workflow_scripts.lib.features.imports.run import Import, import_features
from workflow_scripts.lib.features.layout import shard_path
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.files import write_json

# Frames by video, with gaps; captions with the tokens of each; a text may be empty.
FRAMES = {0: 3, 2: 1, 3: 5, 9: 2}
CAPTIONS = {
    "train": {(0, 0): "새가 난다", (0, 2): "", (2, 0): "a \u2028 dog"},
    "val": {(3, 0): "猫"},
    "test": {(9, 1): "a cat"},
}
PER_SHARD = 4


def write_features(root, dtype="float16"):
    random = np.random.default_rng(0)
    for shard in range(3):
        encoder = {"model": "test", "dtype": dtype}
        writers = {
            kind: ShardWriter(shard_path(root, kind, shard), encoder, dtype)
            for kind in ("video", "token", "text")
        }
        with writers["video"] as videos, writers["token"] as tokens, writers["text"] as texts:
            for video, count in FRAMES.items():
                if video // PER_SHARD == shard:
                    videos.write(f"vid_{video}", random.standard_normal((count, 6)))
                    tokens.write(f"vid_{video}", random.standard_normal((count, 2, 3)))
            for video, caption in sorted(key for lines in CAPTIONS.values() for key in lines):
                if video // PER_SHARD == shard:
                    texts.write(f"vid_{video}#cap_{caption}", random.standard_normal((2 + caption, 5)))
    for side, total in (("video", 4), ("text", 5)):
        pattern = f"{side}_shard_%03d.hdf5"
        meta = {"kind": side, "pattern": pattern, "per_shard": PER_SHARD, "shards": 3, "total": total}
        write_json(root / f"{side}_meta.json", meta)
    for split, lines in CAPTIONS.items():
        text = "".join(f"vid_{video}#cap_{caption} {text}\n" for (video, caption), text in lines.items())
        (root / "TextData" / f"말뭉치{split}.caption.txt").write_text(text, encoding="utf-8")
    return root


def export(root, output, layout="bigfile", **settings):
    job = {"features": root, "text_features": root, "name": "말뭉치", "collection": "mini", "visual": "clip"}
    return export_features(Export(**{**job, "layout": layout, **settings}), output)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_reader_as_the_original_finds_everything(tmp_path, layout, dtype):
    root = write_features(tmp_path / "특징", dtype)
    written = export(root, tmp_path / "out", layout)
    frames, texts, captions = read_as_the_original(tmp_path / "out" / "mini", "mini", "clip")
    ours = open_features(root, "video"), open_features(root, "text")
    assert frames.keys() == set(ours[0])
    assert texts.keys() == set(ours[1]) - {"vid_0#cap_2"}  # its line could not be read
    for found, features in zip((frames, texts), ours, strict=True):
        for key, array in found.items():
            assert array.dtype == np.float32
            assert np.array_equal(array, features[key])
    assert captions == {
        "train": [("vid_0#cap_0", "새가 난다"), ("vid_2#cap_0", "a dog")],
        "val": [("vid_3#cap_0", "猫")],
        "test": [("vid_9#cap_1", "a cat")],
    }
    assert (written.videos, written.frames, written.longest_video, written.width) == (4, 11, 5, 6)
    assert (written.longest_caption, written.text_width, written.without_text) == (3, 5, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_exported_comes_back_as_it_was(tmp_path, layout):
    root = write_features(tmp_path / "features")
    export(root, tmp_path / "out", layout)
    job = Import(layout, tmp_path / "out" / "mini", "말뭉치", PER_SHARD, shards=3)
    import_features(job, tmp_path / "back", tmp_path / "corpus")
    assert (tmp_path / "back" / "not_taken.jsonl").read_text() == ""
    for kind in ("video", "text"):
        before, after = open_features(root, kind), open_features(tmp_path / "back", kind)
        assert set(after) == set(before) - {"vid_0#cap_2"}
        assert all(np.array_equal(after[key], before[key]) for key in after)
        meta = json.loads((tmp_path / "back" / f"{kind}_meta.json").read_text())
        assert (meta["shards"], meta["per_shard"]) == (3, PER_SHARD)
    splits = {row["index"]: row["split"] for row in read_rows(tmp_path / "corpus", "videos", 3)}
    assert splits == {0: "train", 2: "train", 3: "val", 9: "test"}
    for split in CAPTIONS:
        name = f"TextData/말뭉치{split}.caption.txt"
        lines = (root / name).read_text(encoding="utf-8").replace(" \u2028 ", " ").split("\n")
        back = (tmp_path / "back" / name).read_text(encoding="utf-8").split("\n")
        assert back == [line for line in lines if not line.startswith("vid_0#cap_2")]


def test_visual_tokens_side_by_side(tmp_path):
    root = write_features(tmp_path / "features", "float32")
    assert export(root, tmp_path / "out", tokens=True).width == 6
    frames, _, _ = read_as_the_original(tmp_path / "out" / "mini", "mini", "clip")
    tokens = open_features(root, "token")
    assert all(np.array_equal(array, tokens[key].reshape(-1, 6)) for key, array in frames.items())


def test_features_from_elsewhere_with_ids_in_any_script(tmp_path):
    """The original reads ids of frames as ISO-8859-1, and splits them at white space."""
    root = tmp_path / "features"
    for folder in ("FeatureData", "TextData"):
        (root / folder).mkdir(parents=True)
    with h5py.File(root / "FeatureData" / "video.hdf5", "w") as file:
        for id_ in ("나비 1", "나비", "é_0"):
            file[id_] = np.full((2, 3), len(id_), "f4")
    with h5py.File(root / "TextData" / "text.hdf5", "w") as file:
        file["나비#0"] = np.ones((1, 3), "f4")
    for split in ("train", "val", "test"):
        (root / "TextData" / f"말뭉치{split}.caption.txt").write_text("나비#0 same\n", encoding="utf-8")
    written = export(root, tmp_path / "out")
    frames, texts, captions = read_as_the_original(tmp_path / "out" / "mini", "mini", "clip")
    assert {id_: array[0, 0] for id_, array in frames.items()} == {"나비 1": 4, "나비": 2, "é_0": 3}
    assert list(texts) == ["나비#0"]
    assert captions["val"] == captions["test"] == [("나비#0", "same")]
    assert written.captions == {"train": 1, "val": 1, "test": 1}


def test_the_whole_folder_or_nothing(tmp_path):
    root = write_features(tmp_path / "features")
    (root / "TextData" / "말뭉치test.caption.txt").write_text("vid_0#cap_7 of no features\n")
    with pytest.raises(UserError, match=r"vid_0#cap_7"):
        export(root, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []
    (tmp_path / "out" / "mini").mkdir()
    with pytest.raises(UserError, match="mini: is there already"):
        export(root, tmp_path / "out")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"name": "other"}, r"othertrain\.caption\.txt: no such caption file.*--name"),
        ({"collection": "../up"}, "--collection '../up': "),
        ({"visual": ""}, "--visual '': "),
    ],
)
def test_settings_that_make_no_sense(tmp_path, settings, says):
    root = write_features(tmp_path / "features")
    with pytest.raises(UserError, match=says):
        export(root, tmp_path / "out", **settings)
    assert not list(tmp_path.glob("out/*"))


def test_captions_of_videos_without_features(tmp_path):
    root = write_features(tmp_path / "features")
    (root / "TextData" / "말뭉치val.caption.txt").write_text("vid_1#cap_0 a text\n")
    with pytest.raises(UserError, match=r"vid_1#cap_0 is of a video without features"):
        export(root, tmp_path / "out")


def test_nothing_to_train_on(tmp_path):
    root = write_features(tmp_path / "features")
    for file in (root / "TextData").glob("*.caption.txt"):
        file.write_text("vid_0#cap_0 \n")
    with pytest.raises(UserError, match="4 videos and 0 captions with a text"):
        export(root, tmp_path / "out")
