"""Frame-caption pairs as WebDataset tars."""

import tarfile

import pytest
import webdataset

from tests.unit.clip.fake_corpus import FRAMES, colour_of, make_corpus, split_of
from workflow_scripts.lib.clip.pairs import middle_frames, pairs_by_video, write_pairs
from workflow_scripts.lib.corpus.tables import read_rows
from workflow_scripts.lib.frames.shard import FrameShard, read_status

FAILED = 3


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_corpus(tmp_path_factory.mktemp("pairs"), videos=12, shards=1, failed=(FAILED,))


def names(tar):
    with tarfile.open(tar) as archive:
        return archive.getnames()


def captions_and_times(corpus):
    captions = list(read_rows(corpus / "corpus", "captions", 1))
    times = {row["index"]: row["timestamps"] for row in read_status(corpus / "frames", 1)}
    return captions, times


def test_frames_lie_inside_the_moment(corpus):
    pairs, without_frames = pairs_by_video(*captions_and_times(corpus), "train", 2)
    assert without_frames == 4
    assert set(pairs) == {i for i in range(12) if split_of(i) == "train" and i != FAILED}
    for video, found in pairs.items():
        for pair in found:
            inside = range(1, 4) if "cap_0000" in pair.name or "cap_0001" in pair.name else range(FRAMES)
            assert pair.video == video
            assert pair.frame in inside
    all_names = [pair.name for found in pairs.values() for pair in found]
    assert len(set(all_names)) == len(all_names) == 7 * 4 * 2


def test_webdataset_reads_every_pair_with_its_own_picture(corpus, tmp_path):
    pairs, _ = pairs_by_video(*captions_and_times(corpus), "train", 2)
    with FrameShard(corpus / "frames" / "frames_000.tar") as frames:
        written = write_pairs(tmp_path / "train.tar", pairs, frames, seed=1)
        samples = list(webdataset.WebDataset(str(tmp_path / "train.tar"), shardshuffle=False))
        assert len(samples) == written
        by_name = {pair.name: pair for found in pairs.values() for pair in found}
        for sample in samples:
            pair = by_name.pop(sample["__key__"])
            assert sample["txt"].decode() == pair.text
            assert sample["jpg"] == frames.jpegs(pair.video)[pair.frame]
        assert by_name == {}


def test_the_seed_decides_the_order(corpus, tmp_path):
    pairs, _ = pairs_by_video(*captions_and_times(corpus), "train", 2)
    with FrameShard(corpus / "frames" / "frames_000.tar") as frames:
        for name, seed in (("a", 1), ("b", 1), ("c", 2)):
            write_pairs(tmp_path / name, pairs, frames, seed)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c
    assert sorted(names(tmp_path / "a")) == sorted(names(tmp_path / "c"))


def test_an_empty_split_gives_an_empty_tar(corpus, tmp_path):
    with FrameShard(corpus / "frames" / "frames_000.tar") as frames:
        assert write_pairs(tmp_path / "val.tar", {}, frames, seed=1) == 0
    assert names(tmp_path / "val.tar") == []


def test_the_middle_frame_of_every_moment(corpus):
    captions, _ = captions_and_times(corpus)
    tars = [corpus / "frames" / "frames_000.tar"]
    found = list(middle_frames(captions, read_status(corpus / "frames", 1), tars))
    assert len(found) == 11 * 4
    with FrameShard(tars[0]) as frames:
        for row, jpeg in found:
            assert colour_of(row["video"]) in row["text"] or row["language"] == "ko"
            assert jpeg == frames.jpegs(row["video"])[2 if row["start_s"] else 3]
