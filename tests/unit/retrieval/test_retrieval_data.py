import functools
import operator

import numpy as np
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus
from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.retrieval.data import EpochBatches, TrainingSet, feature, read_splits, visual_reader
from workflow_scripts.lib.retrieval.model import GMMFormerConfig

CONFIG = GMMFormerConfig(WIDTH, WIDTH, hidden_size=8, n_heads=2, max_ctx_l=8, max_desc_l=6, map_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("data") / "c", {"train": 7, "val": 2}, without_features=(3,))


def splits_of(folder, languages=None):
    videos = FeatureReader(folder / "features", "video")
    return read_splits(folder / "corpus", 1, ("train", "val", "test"), languages, videos)


def test_videos_without_features_are_left_out_and_counted(folder, capsys):
    splits = splits_of(folder)
    assert splits["train"].videos.tolist() == [0, 1, 2, 4, 5, 6]
    assert splits["val"].caption_keys() == ["vid_7#cap_0", "vid_7#cap_1", "vid_8#cap_0", "vid_8#cap_1"]
    assert len(splits["test"].videos) == len(splits["test"].owner) == 0
    assert "1 captioned videos have no features" in capsys.readouterr().out


def test_only_the_chosen_languages(folder):
    train = splits_of(folder, ["ko"])["train"]
    assert set(train.languages) == {"ko"}
    assert train.caption_keys([0, 3]) == ["vid_0#cap_1", "vid_4#cap_1"]


def test_a_batch_holds_its_videos_with_all_their_captions(folder):
    readers = [FeatureReader(folder / "features", kind) for kind in ("video", "text")]
    batch = TrainingSet(splits_of(folder)["train"], *readers, CONFIG)[[4, 0, 2]]  # videos 5, 0 and 2
    assert batch.owner.tolist() == [0, 0, 1, 1, 2, 2]
    assert batch.clips.shape == (3, 4, WIDTH)
    assert batch.frame_mask.sum(1).tolist() == [min(8, len(readers[0][f"vid_{i}"])) for i in (5, 0, 2)]
    assert batch.token_mask.sum(1).tolist() == [
        min(6, len(readers[1][f"vid_{i}#cap_{j}"])) for i in (5, 0, 2) for j in (0, 1)
    ]
    assert (batch.tokens[batch.token_mask == 0] == 0).all()
    norms = batch.frames[batch.frame_mask == 1].norm(dim=-1)
    torch.testing.assert_close(norms, torch.ones_like(norms), atol=1e-4, rtol=0)


def test_epochs_shuffle_by_seed_and_epoch_and_cover_everything():
    def order(seed, epoch):
        batches = EpochBatches(10, 4, seed)
        batches.epoch = epoch
        return list(batches)

    assert [len(batch) for batch in order(1, 0)] == [4, 4, 2]
    assert sorted(functools.reduce(operator.iadd, order(1, 0), [])) == list(range(10))
    assert order(1, 0) == order(1, 0)
    assert len({str(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((0, 4)), "no rows"),
        (np.zeros((3, 5)), r"shape \[3, 5\], expected \[rows, 4\]"),
    ],
)
def test_a_wrong_feature_is_named(tmp_path, array, found):
    (tmp_path / "FeatureData").mkdir()
    with ShardWriter(tmp_path / "FeatureData/video_shard_000.hdf5", encoder={}) as writer:
        writer.write("vid_0", np.ones((2, 4)))
        writer.write("vid_1", array)
    reader = FeatureReader(tmp_path, "video")
    assert feature(reader, "vid_0", 4).shape == (2, 4)
    with pytest.raises(UserError, match=f"video feature vid_1 has {found}"):
        feature(reader, "vid_1", 4)


def test_visual_tokens_of_a_frame_lie_side_by_side(tmp_path):
    tokens = np.arange(2 * 4 * 3).reshape(2, 4, 3)
    with ShardWriter(tmp_path / "TokenData/token_shard_000.hdf5", encoder={}) as writer:
        writer.write("vid_0", tokens)
    reader = visual_reader(tmp_path, RetrievalConfig(visual="tokens"))
    np.testing.assert_array_equal(feature(reader, "vid_0", 12), tokens.reshape(2, 12))


def test_a_caption_without_features_is_named(folder):
    reader = FeatureReader(folder / "features", "text")
    with pytest.raises(UserError, match="vid_0#cap_9"):
        feature(reader, "vid_0#cap_9")
