import functools
import operator

import numpy as np
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import WIDTH, make_corpus
from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.features.datasets import CaptionedVideos
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.retrieval.data import (
    EpochBatches,
    make_batch,
    read_splits,
    video_inputs,
    visual_reader,
)
from workflow_scripts.lib.retrieval.model import GMMFormerConfig
from workflow_scripts.lib.retrieval.pooling import unit_rows

CONFIG = GMMFormerConfig(WIDTH, WIDTH, hidden_size=8, n_heads=2, max_ctx_l=8, max_desc_l=6, map_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("data") / "c", {"train": 7, "val": 2}, without_features=(3,))


def splits_of(folder, languages=None):
    return read_splits(folder / "features", ("train", "val", "test"), languages)


def keys_of(split) -> list[str]:
    return list(Keys(split.videos(), split.captions()))


def test_splits_hold_the_captioned_videos_that_have_features(folder, capsys):
    splits = splits_of(folder)
    assert splits["train"].unique_videos().tolist() == [0, 1, 2, 4, 5, 6]
    assert keys_of(splits["val"]) == ["vid_7#cap_0", "vid_7#cap_1", "vid_8#cap_0", "vid_8#cap_1"]
    assert splits["test"].video_count == len(splits["test"]) == 0
    assert "train: 6 videos, 12 captions" in capsys.readouterr().out


def test_only_the_chosen_languages(folder):
    train = splits_of(folder, ["ko"])["train"]
    assert {train.language_names[code] for code in train.languages()} == {"ko"}
    assert [keys_of(train)[row] for row in (0, 3)] == ["vid_0#cap_1", "vid_4#cap_1"]


def test_a_batch_holds_its_videos_with_all_their_captions(folder):
    readers = [open_features(folder / "features", kind) for kind in ("video", "text")]
    train_set = CaptionedVideos(*readers, splits_of(folder)["train"])
    batch = make_batch(train_set.__getitems__([4, 0, 2]), CONFIG)  # videos 5, 0 and 2
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


def test_visual_tokens_of_a_frame_lie_side_by_side(tmp_path):
    tokens = np.random.default_rng(0).normal(size=(2, 4, WIDTH // 4)).astype(np.float32)
    with ShardWriter(tmp_path / "TokenData/token_shard_000.hdf5", encoder={}, dtype="float32") as writer:
        writer.write("vid_0", tokens)
    reader = visual_reader(tmp_path, RetrievalConfig(visual="tokens"))
    _, frames, mask = video_inputs([reader["vid_0"]], CONFIG)
    assert mask.tolist() == [[1, 1]]
    np.testing.assert_allclose(frames[0].numpy(), unit_rows(tokens.reshape(2, WIDTH)), rtol=1e-6)
