"""Which video a row of an index is, and when its segments are."""

import itertools

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.features.small_corpus import change_table
from workflow_scripts.lib.corpus.tables import VIDEOS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.frames.shard import STATUS
from workflow_scripts.lib.retrieval.moments import CorpusTables
from workflow_scripts.lib.retrieval.pooling import segment_bounds
from workflow_scripts.lib.retrieval.search import places
from workflow_scripts.lib.retrieval.search.places import Place, Places, write_places

SEGMENTS = 4


def place(frames, times=None, end=None):
    bounds = None
    if times is not None:
        bounds = [*(times[i] for i in segment_bounds(frames, SEGMENTS)[:-1]), end]
    return Place(0, "a", "a.mp4", "train", None, frames, bounds)


def spans(one):
    return [tuple(one.span(segment, SEGMENTS)) for segment in range(SEGMENTS)]


def test_as_many_frames_as_segments():
    assert spans(place(4, [0.5, 1.5, 2.5, 3.5], 4.0)) == [
        (0.5, 1.5, 0, 0),
        (1.5, 2.5, 1, 1),
        (2.5, 3.5, 2, 2),
        (3.5, 4.0, 3, 3),
    ]


def test_more_frames_than_segments():
    assert spans(place(8, list(range(8)), 9.0)) == [(0, 2, 0, 1), (2, 4, 2, 3), (4, 6, 4, 5), (6, 9.0, 6, 7)]


def test_segments_that_share_a_frame_have_its_span():
    found = spans(place(2, [1.0, 3.0], 4.0))
    assert set(found) == {(1.0, 3.0, 0, 0), (3.0, 4.0, 1, 1)}
    assert found == sorted(found)


def test_a_single_frame_is_all_of_the_clip():
    assert spans(place(1, [0.7], 2.0)) == [(0.7, 2.0, 0, 0)] * SEGMENTS


def test_without_times_there_are_frames():
    assert spans(place(8)) == [(None, None, 0, 1), (None, None, 2, 3), (None, None, 4, 5), (None, None, 6, 7)]


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 5, 7, 31, 32, 33, 1000])
@pytest.mark.parametrize("segments", [1, 3, 32])
def test_spans_never_end_before_they_begin_and_cover_all_frames(frames, segments):
    times = np.arange(frames) * 0.5
    one = place(1)._replace(
        frames=frames, bounds_s=[*times[segment_bounds(frames, segments)[:-1]], frames * 0.5]
    )
    found = [one.span(segment, segments) for segment in range(segments)]
    assert all(span.start_s < span.end_s and span.first_frame <= span.last_frame for span in found)
    assert all(before.end_s in (after.start_s, before.end_s) for before, after in itertools.pairwise(found))
    assert {frame for span in found for frame in range(span.first_frame, span.last_frame + 1)} == set(
        range(frames)
    )


@pytest.fixture
def tables(tmp_path):
    """Two shards of four videos; video 1 has no features, and video 6 begins in the middle of its file."""
    corpus, frames = tmp_path / "corpus", tmp_path / "frames"
    corpus.mkdir()
    frames.mkdir()
    (tmp_path / "FeatureData").mkdir()
    for shard in range(2):
        videos = range(4 * shard, 4 * shard + 4)
        rows = [
            {
                "index": i, "id": f"영상/{i}", "path": f"{i}.mp4", "source": "", "split": ("train", "test")[i % 2],
                "start_s": 60.0 if i == 6 else None,
            }
            for i in videos
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(rows, VIDEOS), corpus / f"videos_{shard:03d}.parquet")
        statuses = [
            {
                "index": i, "key": f"vid_{i}", "split": "train", "outcome": "ok", "frames": i + 1,
                "timestamps": [float(t) for t in range(i + 1)], "duration_s": i + 1.5 if i else None,
                "bytes": 0, "seconds": 0.0,
            }
            for i in reversed(videos)
        ]  # fmt: skip
        pq.write_table(pa.Table.from_pylist(statuses, STATUS), frames / f"status_{shard:03d}.parquet")
        with ShardWriter(
            tmp_path / f"FeatureData/video_shard_{shard:03d}.hdf5", {}, dtype="float16"
        ) as writer:
            for i in videos:
                if i != 1:
                    writer.write(f"vid_{i}", np.ones((i + 1, 3)))
    return CorpusTables(corpus, frames, 2)


def written(tables, splits=("train", "val", "test")):
    reader = open_features(tables.corpus.parent, "video")
    file = tables.corpus.parent / "videos.parquet"
    numbers = write_places(file, tables, splits, reader, SEGMENTS)
    found = Places(file)
    return numbers.tolist(), found.rows(range(len(found)))


def test_rows_are_the_videos_with_features_in_order(tables, capsys):
    numbers, rows = written(tables)
    assert numbers == [row.video for row in rows] == [0, 2, 3, 4, 5, 6, 7]
    assert "1 videos without features are left out" in capsys.readouterr().out
    six = rows[5]
    assert (six.id, six.path, six.split, six.clip_start_s, six.frames) == (
        "영상/6",
        "6.mp4",
        "train",
        60.0,
        7,
    )
    assert six.bounds_s == [*segment_bounds(7, SEGMENTS)[:-1].tolist(), 7.5]  # frame t is at t seconds
    assert rows[0].bounds_s == [0.0] * (SEGMENTS + 1)  # one frame, and nobody knows how long


def test_only_the_splits_that_are_asked_for(tables):
    assert written(tables, ["test"])[0] == [3, 5, 7]
    assert written(tables, ["val"]) == ([], [])


def test_rows_are_looked_up_in_any_order(tables, monkeypatch):
    monkeypatch.setattr(places, "ROW_GROUP", 2)
    written(tables)
    found = Places(tables.corpus.parent / "videos.parquet")
    assert [row.video for row in found.rows([6, 0, 3, 0])] == [7, 0, 4, 0]
    assert found.rows([]) == []


def test_without_frames_there_are_no_times(tables):
    _, rows = written(tables._replace(frames=None))
    assert {row.bounds_s for row in rows} == {None}
    assert [row.frames for row in rows] == [1, 3, 4, 5, 6, 7, 8]


def test_features_and_frames_of_different_runs_are_refused(tables):
    change_table(
        tables.frames / "status_001.parquet",
        lambda rows: [replaced(row, 5, timestamps=[0.0, 1.0]) for row in rows],
    )
    with pytest.raises(UserError, match=r"status_001\.parquet: 2 frames of video 5, whose features are of 6"):
        written(tables)


def test_a_video_without_a_status_is_refused(tables):
    change_table(
        tables.frames / "status_000.parquet", lambda rows: [row for row in rows if row["index"] != 2]
    )
    with pytest.raises(UserError, match=r"status_000\.parquet: 0 frames of video 2"):
        written(tables)


def replaced(row, video, **values):
    return row | values if row["index"] == video else row
