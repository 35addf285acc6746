import itertools

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
    make_batch,
    padding,
    query_inputs,
    read_splits,
    video_inputs,
    visual_reader,
)
from workflow_scripts.lib.retrieval.model import GMMFormerConfig
from workflow_scripts.lib.retrieval.pooling import pool_video, segment_means, unit_rows

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


@pytest.fixture(scope="module")
def train_set(folder):
    readers = [open_features(folder / "features", kind) for kind in ("video", "text")]
    return CaptionedVideos(*readers, splits_of(folder)["train"])


def in_order(parts, places):
    """Rows and mask of each item of the parts, in the order as sampled; the padding of an item is cut off."""
    items = [(rows[: int(mask.sum())], mask) for part in parts for rows, mask in zip(*part[-2:], strict=True)]
    return [items[place][0] for place in places]


@pytest.mark.parametrize("parts", [1, 2, 3, 100])
def test_a_batch_holds_its_videos_with_all_their_captions(train_set, parts):
    batch = make_batch(train_set.__getitems__([4, 0, 2]), CONFIG, parts)  # videos 5, 0 and 2
    assert (len(batch.videos), len(batch.queries)) == (min(parts, 3), min(parts, 6))
    assert batch.owner.tolist() == [0, 0, 1, 1, 2, 2]
    clips = torch.cat([part.clips for part in batch.videos])[batch.video_places]
    assert clips.shape == (3, 4, WIDTH)
    found = in_order(batch.videos, batch.video_places)
    for video, frames, segments in zip((5, 0, 2), found, clips, strict=True):
        expected = pool_video(train_set.videos[f"vid_{video}"], CONFIG.map_size, CONFIG.max_ctx_l)
        np.testing.assert_array_equal(segments, expected[0])
        np.testing.assert_array_equal(frames, expected[1])
    found = in_order(batch.queries, batch.query_places)
    for key, tokens in zip((f"vid_{i}#cap_{j}" for i in (5, 0, 2) for j in (0, 1)), found, strict=True):
        np.testing.assert_allclose(tokens, unit_rows(train_set.texts[key][:6]), atol=1e-6)


def test_parts_are_of_similar_length_and_their_padding_is_zero(train_set):
    batch = make_batch(train_set.__getitems__(range(6)), CONFIG, 3)
    for parts in (batch.videos, batch.queries):
        lengths = [part.mask.sum(1) for part in parts]
        assert all(part.mask.shape[1] == length.max() for part, length in zip(parts, lengths, strict=True))
        assert all(one.min() >= other.max() for one, other in itertools.pairwise(lengths))
        for part in parts:
            assert (part[-2][part.mask == 0] == 0).all()
            assert {part[-2].dtype, part.mask.dtype} == {torch.float32}


def test_no_videos_are_one_empty_part():
    batch = make_batch([], CONFIG, 4)
    [videos], [queries] = batch.videos, batch.queries
    assert [tensor.shape for tensor in (*videos, *queries)] == [
        (0, 4, WIDTH), (0, 1, WIDTH), (0, 1), (0, 1, WIDTH), (0, 1),
    ]  # fmt: skip
    assert [tensor.tolist() for tensor in batch[2:]] == [[], [], []]
    assert {tensor.dtype for tensor in batch[2:]} == {torch.int64}
    assert set(padding(batch).values()) == {0}


def test_a_batch_goes_to_a_device_as_a_whole(train_set):
    there = make_batch(train_set.__getitems__([0, 1, 2]), CONFIG, 2).to(torch.device("meta"))
    tensors = [*(tensor for part in (*there.videos, *there.queries) for tensor in part), *there[2:]]
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_padding_is_counted_with_the_parts_and_without(train_set):
    videos = train_set.__getitems__(range(6))
    frames = [min(len(video.frames), 8) for video in videos]
    words = [min(len(tokens), 6) for video in videos for tokens in video.words]
    one = padding(make_batch(videos, CONFIG, 1))
    assert one["frames"] == one["frames_in_one_part"] == pytest.approx(1 - sum(frames) / (6 * max(frames)))
    assert one["words"] == one["words_in_one_part"] == pytest.approx(1 - sum(words) / (12 * max(words)))
    alone = padding(make_batch(videos, CONFIG, 100))
    assert (alone["frames"], alone["words"]) == (0, 0)
    assert alone["frames_in_one_part"] == one["frames"]
    assert 0 < padding(make_batch(videos, CONFIG, 2))["frames"] < one["frames"]


@pytest.mark.parametrize("dtype", ["float16", ">f2", "float32", ">f4", "float64"])
def test_any_number_format_is_read_and_nothing_is_changed_by_it(dtype):
    """Arrays of files cannot be written to."""
    rows = np.random.default_rng(0).normal(size=(20, WIDTH)).astype(dtype)
    rows.flags.writeable = False
    before = rows.copy()
    clips, frames, _ = video_inputs([rows, rows[:3]], CONFIG)
    tokens, _ = query_inputs([rows, rows[:3]], CONFIG)
    wide = rows.astype(np.float64)
    expected = unit_rows(segment_means(wide, 4)), unit_rows(segment_means(wide, 8)), unit_rows(wide[:6])
    for found, right in zip((clips[0], frames[0], tokens[0]), expected, strict=True):
        assert found.dtype == torch.float32
        np.testing.assert_allclose(found, right, atol=1e-6)
    np.testing.assert_array_equal(rows, before)


def test_visual_tokens_of_a_frame_lie_side_by_side(tmp_path):
    tokens = np.random.default_rng(0).normal(size=(2, 4, WIDTH // 4)).astype(np.float32)
    with ShardWriter(tmp_path / "TokenData/token_shard_000.hdf5", encoder={}, dtype="float32") as writer:
        writer.write("vid_0", tokens)
    reader = visual_reader(tmp_path, RetrievalConfig(visual="tokens"))
    _, frames, mask = video_inputs([reader["vid_0"]], CONFIG)
    assert mask.tolist() == [[1, 1]]
    np.testing.assert_allclose(frames[0].numpy(), unit_rows(tokens.reshape(2, WIDTH)), rtol=1e-6)
