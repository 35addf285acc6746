"""Tables of captions and the data sets on them: what they give, what they hold, and what they refuse."""

import pickle
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.data import DataLoader

from tests.unit.features.small_corpus import (
    captions_of,
    frames_of,
    words_of,
    write_features,
    write_shard,
    write_tables,
)
from workflow_scripts.lib.corpus.tables import CAPTIONS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import caption_table, list_captions
from workflow_scripts.lib.features.collect import collect
from workflow_scripts.lib.features.datasets import (
    AlignedDataset,
    CaptionedVideos,
    CaptionTable,
    pad,
    take,
)
from workflow_scripts.lib.features.reader import open_features


def one_caption(video):
    return captions_of(video)[:1]


def make(folder, captions=captions_of, **more):
    write_tables(folder / "corpus", captions=captions)
    root = write_features(folder / "특징", captions=captions, **more)
    for side in ("video", "text"):
        collect(root, side, folder / "corpus", 2, 4)
    list_captions(root, folder / "corpus", "c", 2)
    return root


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """One caption of even videos, three of odd ones; video 5 has no features."""
    return make(tmp_path_factory.mktemp("several"), without=(5,), tokens=True)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory):
    """One caption a video."""
    return make(tmp_path_factory.mktemp("aligned"), one_caption)


def table_of(root, split="train", **choice):
    return CaptionTable(caption_table(root, split), **choice)


def readers(root):
    return open_features(root, "video"), open_features(root, "text")


def pairs(table) -> list[tuple[int, int]]:
    return list(zip(table.videos().tolist(), table.captions().tolist(), strict=True))


def test_a_table_gives_keys_languages_and_texts(several):
    table = table_of(several)
    assert pairs(table) == [(0, 0), (1, 0), (1, 1), (1, 2), (4, 0)]
    assert [table.language_names[code] for code in table.languages()] == ["en", "en", "ko", "en", "en"]
    assert [table.text(row) for row in range(len(table))] == [
        "video 0",
        "video 1",
        "영상\n 1번",
        "",
        "video 4",
    ]
    assert table.videos(np.array([4, 0])).tolist() == [4, 0]


def test_videos_and_the_rows_of_their_captions(several):
    table = table_of(several)
    assert table.video_count == 3
    assert table.first.tolist() == [0, 1, 4, 5]
    assert table.unique_videos().tolist() == [0, 1, 4]
    assert table.unique_videos(np.array([[2, 0], [1, 1]])).tolist() == [[4, 0], [1, 1]]
    assert table.owner(slice(None)).tolist() == [0, 1, 1, 1, 2]
    assert table.owner(slice(3, 5)).tolist() == [1, 2]


@pytest.mark.parametrize(
    "choice, expected",
    [
        ({"languages": ["ko"]}, [(1, 1)]),
        ({"languages": ["ko", "zh"]}, [(1, 1)]),
        ({"languages": []}, []),
        ({"languages": ["zh"]}, []),
        ({"number": 0}, [(0, 0), (1, 0), (4, 0)]),
        ({"number": 2, "languages": ["en"]}, [(1, 2)]),
        ({"number": 1, "languages": ["en"]}, []),
    ],
)
def test_captions_are_chosen_by_language_and_number(several, choice, expected):
    table = table_of(several, **choice)
    assert pairs(table) == expected
    assert len(table) == len(expected)
    assert [table.text(row) for row in range(len(table))] == [captions_of(i)[j][1] for i, j in expected]
    assert table.unique_videos().tolist() == sorted({video for video, _ in expected})


def test_a_split_without_captions(several, tmp_path):
    write_tables(tmp_path / "corpus", captions=lambda video: captions_of(video) if video % 4 < 2 else [])
    root = write_features(tmp_path, captions=lambda video: captions_of(video) if video % 4 < 2 else [])
    list_captions(root, tmp_path / "corpus", "c", 2)
    table = table_of(root, "val", languages=["en"])
    assert (len(table), table.video_count, table.first.tolist()) == (0, 0, [0])
    for dataset in (AlignedDataset, CaptionedVideos):
        assert len(dataset(*readers(root), table)) == 0


def test_a_table_that_is_missing_or_another_is_named(several, tmp_path):
    with pytest.raises(UserError, match=r"captions_dev\.arrow: cannot be read .* list_captions"):
        table_of(several, "dev")
    for content in (b"", b"ARROW1 no table", caption_table(several, "train").read_bytes()[:500]):
        (tmp_path / "captions_train.arrow").write_bytes(content)
        with pytest.raises(UserError, match=r"captions_train\.arrow: cannot be read"):
            table_of(tmp_path)


def test_damage_to_a_table_is_named(several, tmp_path):
    data, texts = (
        caption_table(several, "train").read_bytes(),
        ("video 0", "video 1", "영상\n 1번", "video 4"),
    )
    ends = np.cumsum([0, *(len(text.encode()) for text in (*texts[:3], "", texts[3]))]).tobytes()
    languages = np.array([0, 0, 1, 0, 0], np.int16).tobytes().ljust(16, b"\0")  # so they lie in the file
    file = tmp_path / "captions_train.arrow"
    for found, wrong in (
        ("영상".encode(), b"\xff" * 6),
        (ends, ends[:8] + b"\xff" * 8 + ends[16:]),
        (languages, languages.replace(b"\1", b"\7")),
    ):
        assert data.count(found) == 1
        file.unlink(missing_ok=True)  # what is mapped stays as it was
        file.write_bytes(data.replace(found, wrong))
        with pytest.raises(UserError, match=r"captions_train\.arrow: .* list_captions again"):
            table = CaptionTable(file)
            [table.text(row) for row in range(len(table))]


def test_items_of_the_aligned_data_set_are_what_the_readers_give(aligned):
    dataset = AlignedDataset(*readers(aligned), table_of(aligned))
    assert [(item.video, item.caption) for item in map(dataset.__getitem__, range(len(dataset)))] == [
        (0, 0), (1, 0), (4, 0), (5, 0),
    ]  # fmt: skip
    for item in map(dataset.__getitem__, range(4)):
        np.testing.assert_array_equal(item.frames, frames_of(item.video))
        np.testing.assert_array_equal(item.words, words_of(item.video, 0))
    with pytest.raises(IndexError):
        dataset[4]


def test_batches_are_read_at_once_and_in_their_order(aligned, monkeypatch):
    videos, texts = readers(aligned)
    dataset = AlignedDataset(videos, texts, table_of(aligned))
    asked = []
    real = videos.take
    monkeypatch.setattr(videos, "take", lambda *keys: asked.append(len(keys[0])) or real(*keys))
    [items] = DataLoader(dataset, batch_sampler=[[3, 0, 3]], collate_fn=list)
    assert [item.video for item in items] == [5, 0, 5]
    assert asked == [3]


def test_the_aligned_data_set_refuses_several_captions_of_a_video_until_one_is_chosen(several):
    with pytest.raises(
        UserError, match=r"captions_train\.arrow: vid_1#cap_1 is not the only caption .*`number`"
    ):
        AlignedDataset(*readers(several), table_of(several))
    chosen = AlignedDataset(*readers(several), table_of(several, "test", number=1))
    assert [(item.video, item.caption) for item in map(chosen.__getitem__, range(2))] == [(3, 1), (7, 1)]
    np.testing.assert_array_equal(chosen[1].words, words_of(7, 1))


def test_captioned_videos_come_with_all_their_captions(several):
    dataset = CaptionedVideos(*readers(several), table_of(several))
    assert len(dataset) == 3
    found = dataset.__getitems__([1, 0, 1])
    assert [(item.video, item.captions.tolist()) for item in found] == [
        (1, [0, 1, 2]),
        (0, [0]),
        (1, [0, 1, 2]),
    ]
    for item in found:
        np.testing.assert_array_equal(item.frames, frames_of(item.video))
        for caption, words in zip(item.captions, item.words, strict=True):
            np.testing.assert_array_equal(words, words_of(item.video, int(caption)))
    with pytest.raises(IndexError):
        dataset[3]
    assert dataset.__getitems__([]) == []


def test_captioned_videos_have_the_chosen_captions_alone(several):
    dataset = CaptionedVideos(*readers(several), table_of(several, "test", languages=["ko"]))
    assert [(item.video, item.captions.tolist()) for item in map(dataset.__getitem__, range(2))] == [
        (3, [1]),
        (7, [1]),
    ]


def test_visual_tokens_in_the_place_of_embeddings(several):
    dataset = CaptionedVideos(
        open_features(several, "token"), open_features(several, "text"), table_of(several)
    )
    assert dataset[0].frames.shape == (len(frames_of(0)), 2, 6)


@pytest.mark.slow
def test_a_worker_that_starts_anew_reads_the_same(aligned):
    made = AlignedDataset(*readers(aligned), table_of(aligned, languages=["en"]))
    loader = DataLoader(
        made, batch_size=3, collate_fn=keys_and_frames, num_workers=1, multiprocessing_context="spawn"
    )
    assert list(loader) == [
        [(i, frames_of(i).sum()) for i in (0, 1, 4)],
        [(5, frames_of(5).sum())],
    ]


def keys_and_frames(items):
    return [(item.video, item.frames.sum()) for item in items]


def make_long(folder, videos):
    """So many videos of the training split in one shard, with an English caption each."""
    folder.mkdir()
    rows = [
        {
            "video": i, "caption": 0, "key": f"vid_{i}#cap_0", "split": "train", "language": "ko" if i % 2 else "en",
            "text": f"text {i}", "attributes": [],
        }
        for i in range(videos)
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows, CAPTIONS), folder / "captions_000.parquet")
    write_shard(folder, "video", 0, ((f"vid_{i}", np.full((1, 2), i)) for i in range(videos)))
    write_shard(folder, "text", 0, ((f"vid_{i}#cap_0", np.full((1, 2), i)) for i in range(videos)))
    list_captions(folder, folder, "c", 1)
    return folder


@pytest.mark.parametrize("dataset", [AlignedDataset, CaptionedVideos])
def test_a_pickle_holds_neither_captions_nor_keys(tmp_path, dataset):
    """It is as large for 2,000 captions as for two, read from or not."""
    sizes = []
    for videos in (2, 2000):
        root = make_long(tmp_path / f"{videos:04d}", videos)
        made = dataset(*readers(root), table_of(root, languages=["en"]))
        assert (len(made), made[len(made) - 1].video) == (videos // 2, videos - 2)
        assert pickle.loads(pickle.dumps(made))[0].frames.tolist() == [[0, 0]]
        sizes.append(len(pickle.dumps(made)))
    assert sizes[0] <= sizes[1] < sizes[0] + 50
    assert sizes[1] < 5000


def test_all_captions_are_mapped_and_a_choice_is_row_numbers(tmp_path):
    root = make_long(tmp_path / "c", 500)
    for table in (table_of(root), table_of(root, languages=["ko", "en"])):
        assert table._rows is None
        assert not table.videos().flags.owndata
    assert table_of(root, languages=["ko"])._rows.dtype == np.int64


def test_a_feature_that_is_missing_is_named(aligned, tmp_path):
    videos, texts = readers(aligned)
    dataset = AlignedDataset(videos, texts, table_of(aligned))
    shutil.copytree(aligned, tmp_path / "c")
    write_shard(tmp_path / "c", "text", 1, [("vid_4#cap_0", words_of(4, 0))])
    (tmp_path / "c/text_meta.json").unlink()
    (tmp_path / "c/text_manifest.json").unlink()
    dataset = AlignedDataset(videos, open_features(tmp_path / "c", "text"), table_of(aligned))
    with pytest.raises(UserError, match=r"TextData.*vid_5#cap_0"):
        dataset[3]


def test_a_feature_without_rows_is_named_with_its_file(aligned, tmp_path):
    shutil.copytree(aligned, tmp_path / "c")
    arrays = [(f"vid_{i}", frames_of(i)[: 0 if i == 5 else None]) for i in (4, 5, 6, 7)]
    write_shard(tmp_path / "c", "video", 1, arrays)
    videos, texts = open_features(tmp_path / "c", "video"), open_features(aligned, "text")
    for dataset in (AlignedDataset, CaptionedVideos):
        made = dataset(videos, texts, table_of(aligned))
        with pytest.raises(
            UserError, match=r"video_shard_001\.hdf5: .* vid_5 has the shape \[0, 6\], expected rows"
        ):
            made.__getitems__([0, 3, 2])
        assert made[2].video == 4


def test_a_feature_of_another_width_than_asked_for_is_named(several):
    _, texts = readers(several)
    [words] = take(texts, np.array([7]), np.array([2]), width=6)
    np.testing.assert_array_equal(words, words_of(7, 2))
    with pytest.raises(
        UserError, match=r"text_shard_001\.hdf5: .* vid_7#cap_2 .* \[2, 6\], expected rows of 7 numbers"
    ):
        take(texts, np.array([7]), np.array([2]), width=7)
    tokens = open_features(several, "token")
    assert take(tokens, np.array([0]), width=12)[0].shape == (1, 2, 6)


def test_padding_puts_zeros_behind_and_tells_by_the_mask():
    padded, mask = pad([np.ones((2, 3), np.float16), np.full((1, 3), 2.0)])
    assert padded.tolist() == [[[1] * 3, [1] * 3], [[2] * 3, [0] * 3]]
    assert mask.tolist() == [[1, 1], [1, 0]]
    assert padded.dtype == mask.dtype == torch.float32
