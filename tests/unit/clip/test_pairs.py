"""Which frames go with which captions."""

import itertools

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.unit.clip.fake_corpus import FRAMES, colour_of, make_corpus, split_of
from workflow_scripts.lib.clip import pairs as module
from workflow_scripts.lib.clip.pairs import choose_frames, choose_pairs, middle_frames
from workflow_scripts.lib.config_clip import PairsConfig
from workflow_scripts.lib.corpus.tables import read_rows
from workflow_scripts.lib.frames.shard import FrameShard, read_status

FAILED = 3
TRAINING = [i for i in range(12) if split_of(i) == "train" and i != FAILED]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("pairs"), videos=12, shards=1, failed=(FAILED,))


def choose(corpus, split="train", seed=1, **settings):
    captions = pq.read_table(corpus / "corpus" / "captions_000.parquet")
    times = {row["index"]: row["timestamps"] for row in read_status(corpus / "frames", 1)}
    return choose_pairs(captions, times, split, PairsConfig(**settings), seed)


def pairs_of(chosen):
    return [pair for video in chosen.videos for pair in chosen.of(video)]


def test_frames_lie_inside_the_moment(corpus):
    chosen = choose(corpus)
    assert chosen.without_frames == 4
    assert list(chosen.videos) == TRAINING
    for pair in pairs_of(chosen):
        assert pair.frame in (range(1, 4) if pair.caption < 2 else range(FRAMES))
        assert colour_of(pair.video) in pair.text or pair.caption % 2
    names = [pair.name for pair in pairs_of(chosen)]
    assert len(set(names)) == len(names) == chosen.total == 7 * 4 * 2
    assert not any("." in name for name in names)


def test_validation_takes_one_frame_a_caption(corpus):
    chosen = choose(corpus, "val", frames_per_caption=3, frames="random")
    assert {(pair.caption, pair.frame) for pair in pairs_of(chosen)} == {(0, 2), (1, 2), (2, 3), (3, 3)}


def test_languages(corpus):
    assert {pair.caption for pair in pairs_of(choose(corpus, languages=["ko"]))} == {1, 3}
    assert choose(corpus, languages=["ko"]).without_frames == 2
    assert choose(corpus, languages=["zh"]).total == 0


def test_some_captions_of_a_video_are_drawn_by_the_seed(corpus):
    def drawn(seed):
        found = {}
        for pair in pairs_of(choose(corpus, captions_per_video=2, seed=seed)):
            found.setdefault(pair.video, set()).add(pair.caption)
        return found

    assert all(len(captions) == 2 for captions in drawn(1).values())
    assert drawn(1) == drawn(1) != drawn(2)
    assert len(set(map(tuple, drawn(1).values()))) > 1, "not the same captions of all videos"
    assert choose(corpus, captions_per_video=9).total == choose(corpus).total


TIMES = [float(t) for t in range(10)]


@pytest.mark.parametrize(
    ("how", "start", "end", "count", "expected"),
    [
        ("even", None, None, 2, [2, 7]),
        ("even", 2.0, 6.0, 9, [2, 3, 4, 5, 6]),
        ("middle", 2.0, 6.0, 3, [3, 4, 5]),
        ("middle", None, 5.0, 2, [2, 3]),
        ("middle", None, None, 99, list(range(10))),
        ("middle", 3.2, 3.4, 4, [3]),  # between two frames
        ("random", 3.2, 3.4, 4, [3]),
        ("random", 2.0, 4.0, 3, [2, 3, 4]),
    ],
)
def test_frames_of_a_moment(how, start, end, count, expected):
    assert choose_frames(TIMES, start, end, count, how, "0") == expected


def test_random_frames_are_drawn_by_the_seed_and_spread_over_the_moment():
    drawn = [choose_frames(TIMES, 2.0, 8.0, 2, "random", str(seed)) for seed in range(50)]
    assert drawn == [choose_frames(TIMES, 2.0, 8.0, 2, "random", str(seed)) for seed in range(50)]
    assert all(one == sorted(set(one)) and len(one) == 2 for one in drawn)
    assert set(np.concatenate(drawn)) == set(range(2, 9))


def test_another_video_changes_nothing_of_the_others(corpus):
    settings = {"captions_per_video": 2, "frames": "random", "frames_per_caption": 1}
    captions = pq.read_table(corpus / "corpus" / "captions_000.parquet")
    times = {video: [float(t) for t in range(FRAMES)] for video in TRAINING}
    fewer = {video: times[video] for video in TRAINING[::2]}
    all_of_them, some = (
        choose_pairs(captions, each, "train", PairsConfig(**settings), 5) for each in (times, fewer)
    )
    assert [list(some.of(video)) for video in fewer] == [list(all_of_them.of(video)) for video in fewer]


def test_the_order_is_the_seeds_and_holds_every_pair_once(corpus):
    chosen = choose(corpus)
    one, same, other = (list(chosen.shuffled(seed)) for seed in (1, 1, 2))
    assert one == same != other
    assert sorted(one) == sorted(other) == sorted(pairs_of(chosen))


def test_videos_are_shuffled_and_pairs_within_blocks_of_them(corpus, monkeypatch):
    chosen = choose(corpus)
    monkeypatch.setattr(module, "BLOCK", 1)
    order = list(chosen.shuffled(1))
    videos = [video for video, _ in itertools.groupby(order, key=lambda pair: pair.video)]
    assert sorted(videos) == TRAINING != videos
    assert any(sorted(of) != of for of in (order[k : k + 8] for k in range(0, 56, 8)))
    monkeypatch.setattr(module, "BLOCK", 2)
    again = list(chosen.shuffled(1))
    assert {pair.video for pair in again[:16]} == set(videos[:2])
    assert len(list(itertools.groupby(again[:16], key=lambda pair: pair.video))) > 2


def test_the_middle_frame_of_every_moment(corpus):
    captions = list(read_rows(corpus / "corpus", "captions", 1))
    tars = [corpus / "frames" / "frames_000.tar"]
    found = list(middle_frames(captions, read_status(corpus / "frames", 1), tars))
    assert len(found) == 11 * 4
    with FrameShard(tars[0]) as frames:
        for row, jpeg in found:
            assert colour_of(row["video"]) in row["text"] or row["language"] == "ko"
            assert jpeg == frames.jpegs(row["video"])[2 if row["start_s"] else 3]
