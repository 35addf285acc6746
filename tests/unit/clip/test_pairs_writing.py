"""Pairs as tars and as a table, read back by what open_clip_train reads them with."""

import shutil
import tarfile
from dataclasses import replace
from functools import partial

import pandas as pd
import pyarrow as pa
import pytest
import webdataset

from tests.unit.clip.fake_corpus import FRAMES, jpeg
from workflow_scripts.lib.clip import pairs as module
from workflow_scripts.lib.clip import pairs_writing
from workflow_scripts.lib.clip.pairs import ShardPairs
from workflow_scripts.lib.clip.pairs_writing import write_table, write_tars
from workflow_scripts.lib.frames.shard import FrameShard, write_tar

VIDEOS = range(3, 9)
TEXTS = ["빨간 사각형", 'a "red" square', "two\nlines and a\ttab", "None"]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    tar = tmp_path_factory.mktemp("frames") / "frames_000.tar"
    write_tar(tar, ((video, [jpeg("red", 100 * video + f) for f in range(FRAMES)]) for video in VIDEOS))
    with FrameShard(tar) as found:
        yield found


@pytest.fixture(scope="module")
def pairs():
    rows = [(video, number, text) for video in VIDEOS for number, text in enumerate(TEXTS)]
    table = pa.table(dict(zip(("video", "caption", "text"), zip(*rows, strict=True), strict=True)))
    videos = {
        video: [(4 * place + number, [number, number + 1]) for number in range(4)]
        for place, video in enumerate(VIDEOS)
    }
    return ShardPairs(table, videos, 0)


def samples(*tars):
    return list(webdataset.WebDataset([str(tar) for tar in tars], shardshuffle=False))


def tars_of(folder):
    return sorted(folder.glob("*.tar"))


def test_webdataset_reads_every_pair_with_its_own_picture(frames, pairs, tmp_path):
    counts, _ = write_tars(tmp_path, "train", pairs, frames, seed=1, pairs_per_tar=1000)
    assert counts == [48] and [tar.name for tar in tars_of(tmp_path)] == ["train_000.tar"]
    by_name = {pair.name: pair for video in pairs.videos for pair in pairs.of(video)}
    for sample in samples(*tars_of(tmp_path)):
        pair = by_name.pop(sample["__key__"])
        assert sample["txt"].decode() == pair.text
        assert sample["jpg"] == frames.jpegs(pair.video)[pair.frame]
    assert by_name == {}


@pytest.mark.parametrize(("each", "counts"), [(48, [48]), (47, [24, 24]), (20, [16] * 3), (9, [8] * 6)])
def test_pairs_are_spread_evenly_over_the_tars(frames, pairs, tmp_path, each, counts):
    assert write_tars(tmp_path, "train", pairs, frames, 1, each)[0] == counts
    found = [[sample["__key__"] for sample in samples(tar)] for tar in tars_of(tmp_path)]
    assert [len(names) for names in found] == counts
    assert len({name for names in found for name in names}) == 48


def test_pairs_of_one_video_lie_in_several_tars(frames, pairs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 1)  # its pairs are neighbours in the order
    write_tars(tmp_path, "train", pairs, frames, 1, 24)
    first, second = ({sample["__key__"][:13] for sample in samples(tar)} for tar in tars_of(tmp_path))
    assert len(first & second) == 6


@pytest.mark.parametrize("write", [write_table, partial(write_tars, pairs_per_tar=50)])
def test_the_digest_is_of_names_captions_and_pictures(frames, pairs, tmp_path, write):
    def digest(name, pairs, frames=frames):
        (tmp_path / name).mkdir()
        return write(tmp_path / name, "train", pairs, frames, seed=1)[1]

    backwards = [text[::-1] for text in pairs.captions["text"].to_pylist()]  # of the same length
    other_text = pairs.captions.set_column(2, "text", [backwards])
    other_frames = {video: [(row, [0, 1]) for row, _ in rows] for video, rows in pairs.videos.items()}
    found = [
        digest("same", pairs),
        digest("text", replace(pairs, captions=other_text)),
        digest("frames", replace(pairs, videos=other_frames)),
    ]
    write_tar(tmp_path / "other.tar", ((v, [one[::-1] for one in frames.jpegs(v)]) for v in VIDEOS))
    with FrameShard(tmp_path / "other.tar") as other:
        found.append(digest("pictures", pairs, other))
    assert len(set(found)) == 4
    assert digest("again", pairs) == found[0]


def test_more_tars_than_are_open_at_a_time_are_the_same(frames, pairs, tmp_path, monkeypatch):
    for name, most in (("all", 100), ("some", 4)):
        (tmp_path / name).mkdir()
        monkeypatch.setattr(pairs_writing, "OPEN", most)
        counts, _ = write_tars(tmp_path / name, "train", pairs, frames, 1, 5)
        assert counts == [5] * 8 + [4] * 2
    one, other = ([tar.read_bytes() for tar in tars_of(tmp_path / name)] for name in ("all", "some"))
    assert one == other


def test_the_seed_decides_order_and_tar(frames, pairs, tmp_path):
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        digests.append(write_tars(tmp_path / name, "train", pairs, frames, seed, 20)[1])
    a, b, c = ([tar.read_bytes() for tar in tars_of(tmp_path / name)] for name in "abc")
    assert a == b != c
    assert digests[0] == digests[1] != digests[2]


def test_no_pair_no_file(frames, tmp_path):
    empty = ShardPairs(pa.table({"video": [], "caption": [], "text": []}), {}, 0)
    assert write_tars(tmp_path, "val", empty, frames, 1, 10)[0] == []
    assert list(tmp_path.iterdir()) == []
    assert write_table(tmp_path, "val", empty, frames, 1)[0] == []


def test_members_are_not_remembered(frames, pairs, tmp_path, monkeypatch):
    """tarfile keeps about a kB for every member, which would grow with the shard."""
    real, most = tarfile.TarFile.addfile, []

    def addfile(self, *args):
        real(self, *args)
        most.append(len(self.members))

    monkeypatch.setattr(tarfile.TarFile, "addfile", addfile)
    write_tars(tmp_path, "train", pairs, frames, 1, 1000)
    assert len(most) == 96 and max(most) <= 2


def test_a_table_names_each_picture_once_and_moves_with_its_folder(frames, pairs, tmp_path):
    (tmp_path / "made").mkdir()
    counts, _ = write_table(tmp_path / "made", "train", pairs, frames, 1)
    assert counts == [48]
    folder = shutil.move(tmp_path / "made", tmp_path / "옮긴 곳")
    table = pd.read_csv(folder / "train.tsv", sep="\t", keep_default_na=False)
    expected = [(pair.video, pair.frame, pair.text) for pair in pairs.shuffled(1)]
    assert table["title"].tolist() == [text for _, _, text in expected]
    for name, (video, frame, _) in zip(table["filepath"], expected, strict=True):
        assert (folder / name).read_bytes() == frames.jpegs(video)[frame]
    assert len(list(folder.rglob("*.jpg"))) == table["filepath"].nunique() == 6 * 5
