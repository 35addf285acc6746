import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import caption_table, list_captions
from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.frames.shard import STATUS
from workflow_scripts.lib.keys import caption_key, video_key
from workflow_scripts.lib.retrieval.moments import CorpusTables, moment_ratios

WHOLE = (None, None)


class Corpus:
    """Two shards of videos, each a dict: "moments" of its captions, and what the tables tell of its length."""

    def __init__(self, folder, *shards):
        self.folder, self.shards, index = folder, len(shards), 0
        (folder / "corpus").mkdir()
        (folder / "frames").mkdir()
        for shard, videos in enumerate(shards):
            rows, captions, statuses = [], [], []
            with ShardWriter(self._features(shard), {}, dtype="float32") as writer:
                for video in videos:
                    self._add(video, index, rows, captions, statuses)
                    writer.write(video_key(index), np.ones((2, 3), np.float32))
                    index += 1
            self._write(f"corpus/videos_{shard:03d}.parquet", rows, VIDEOS)
            self._write(f"corpus/captions_{shard:03d}.parquet", captions, CAPTIONS)
            self._write(f"frames/status_{shard:03d}.parquet", statuses, STATUS)
        list_captions(folder / "features", folder / "corpus", "c", shards=len(shards))

    def _features(self, shard):
        return self.folder / f"features/FeatureData/video_shard_{shard:03d}.hdf5"

    def _add(self, video, index, rows, captions, statuses):
        split = video.get("split", "test")
        times = {name: video.get(name) for name in ("start_s", "end_s", "duration_s")}
        rows.append({"index": index, "id": "", "path": "", "source": "", "split": split, **times})
        for number, (start, end) in enumerate(video["moments"]):
            key = caption_key(index, number)
            about = {
                "video": index,
                "caption": number,
                "key": key,
                "split": split,
                "language": "ko",
                "text": "말",
            }
            captions.append({**about, "start_s": start, "end_s": end})
        if "shown" in video:
            about = {"index": index, "key": video_key(index), "split": split, "outcome": "ok", "frames": 2}
            rest = {"timestamps": [], "bytes": 0, "seconds": 0.0}
            statuses.append({**about, **rest, "duration_s": video["shown"]})

    def _write(self, name, rows, schema):
        pq.write_table(pa.Table.from_pylist(rows, schema), self.folder / name)

    def ratios(self, frames=True, split="test"):
        table = CaptionTable(caption_table(self.folder / "features", split))
        frames = self.folder / "frames" if frames else None
        return moment_ratios(table, CorpusTables(self.folder / "corpus", frames, self.shards))


def known(ratios):
    return [None if np.isnan(ratio) else round(float(ratio), 6) for ratio in ratios]


def test_a_moment_s_share_of_its_clip(tmp_path):
    """Moments count from the clip's start, wherever that is in its file; open ends are those of the clip."""
    clip = {"start_s": 100.0, "end_s": 110.0, "shown": 10.0}
    moments = [(2.0, 4.0), (None, 5.0), (7.0, None), WHOLE, (0.0, 10.0)]
    assert known(Corpus(tmp_path, [{**clip, "moments": moments}]).ratios()) == [0.2, 0.5, 0.3, 1, 1]


def test_a_moment_counts_as_far_as_it_is_shown(tmp_path):
    moments = [(6.0, 12.0), (8.0, 9.0), (9.0, None)]
    assert known(Corpus(tmp_path, [{"shown": 8.0, "moments": moments}]).ratios()) == [0.25, None, None]


def test_what_decoding_found_is_asked_before_the_annotation(tmp_path):
    moments = {"moments": [(0.0, 2.0)]}
    videos = [
        {"shown": 4.0, "duration_s": 10.0},
        {"shown": None, "duration_s": 10.0},
        {"duration_s": 0.0, "start_s": 5.0, "end_s": 10.0},
        {"shown": 0.0, "end_s": 20.0},
        {},
    ]
    corpus = Corpus(tmp_path, [{**video, **moments} for video in videos])
    assert known(corpus.ratios()) == [0.5, 0.2, 0.4, 0.1, None]
    assert known(corpus.ratios(frames=False)) == [0.2, 0.2, 0.4, 0.1, None]


def test_captions_are_found_in_their_shards_and_splits(tmp_path):
    def video(end, split):
        return {"duration_s": 10.0, "split": split, "moments": [(0.0, end), WHOLE]}

    corpus = Corpus(
        tmp_path, [video(1.0, "test"), video(2.0, "val")], [], [video(3.0, "train"), video(4.0, "test")]
    )
    assert known(corpus.ratios()) == [0.1, 1, 0.4, 1]
    assert known(corpus.ratios(split="val")) == [0.2, 1]
    assert known(corpus.ratios(split="train")) == [0.3, 1]


def test_a_corpus_that_lacks_a_listed_caption_is_named(tmp_path):
    corpus = Corpus(tmp_path, [{"moments": [WHOLE, WHOLE]}], [{"moments": [WHOLE]}])
    file = tmp_path / "corpus/captions_000.parquet"
    pq.write_table(pq.read_table(file).slice(0, 1), file)
    with pytest.raises(UserError, match=r"no caption vid_0#cap_1, which .*captions_test\.arrow lists"):
        corpus.ratios()


def test_a_missing_status_table_is_named(tmp_path):
    corpus = Corpus(tmp_path, [{"moments": [WHOLE]}])
    (tmp_path / "frames/status_000.parquet").unlink()
    with pytest.raises(UserError, match=r"status_000\.parquet: missing"):
        corpus.ratios()
