import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.retrieval.tiny_corpus import make_corpus
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.retrieval.data import read_splits
from workflow_scripts.lib.retrieval.evaluate import Retrieved
from workflow_scripts.lib.retrieval.results import RANKS, ranks_table, results, write_ranks

NUMBERS = {"r1", "r5", "r10", "r100", "sumr", "median_rank", "map"}
SIZES = {"queries", "videos", "chance_r1"}


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Three videos with a caption in English and one in Korean each."""
    folder = make_corpus(tmp_path_factory.mktemp("data") / "c", {"test": 3})
    return read_splits(folder / "features", ("test",), None)["test"]


def found(ranks, ahead=None):
    return Retrieved(
        rank=np.array(ranks, dtype=np.int32),
        top_videos=np.tile([2, 0, 1], (6, 1)),
        top_scores=np.tile(np.float32([0.5, 0.25, 0.1]), (6, 1)),
        captions_ahead=np.zeros(6, dtype=np.int64) if ahead is None else np.array(ahead),
    )


def test_all_numbers_of_a_split(split, tmp_path):
    ratios = np.array([0.1, 0.1, 0.5, 1.0, np.nan, 1.0])
    ours = results(found([1, 2, 3, 1, 1, 2], [0, 3, 1, 4, 0, 0]), split, ratios, samples=20, seed=0)
    assert set(ours) == NUMBERS | SIZES | {"confidence", "by_language", "video_to_text", "moment_ratio"}
    assert (ours["queries"], ours["videos"]) == (6, 3)
    assert set(ours["confidence"]) == NUMBERS
    assert {name: set(part) for name, part in ours["by_language"].items()} == {
        "en": NUMBERS | SIZES,
        "ko": NUMBERS | SIZES,
    }
    assert ours["by_language"]["en"]["r1"] == pytest.approx(200 / 3)
    assert set(ours["video_to_text"]) == NUMBERS | {"queries", "captions", "chance_r1"}
    assert ours["video_to_text"]["r1"] == pytest.approx(200 / 3)
    assert [(part["from"], part["queries"]) for part in ours["moment_ratio"]] == [(0, 2), (0.4, 1), (0.8, 2)]
    assert set(ours["moment_ratio"][0]) == NUMBERS | {"from", "to", "queries"}
    write_json(tmp_path / "metrics.json", ours)


def test_what_is_not_known_is_null(split):
    ours = results(found([1] * 6), split, np.full(6, np.nan), samples=0, seed=0)
    assert (ours["confidence"], ours["moment_ratio"]) == (None, None)


def test_ranks_by_query(split, tmp_path):
    ratios = np.array([0.1, 0.1, 0.5, 1.0, np.nan, 1.0])
    baselines = {"mean_pooled": found([3] * 6), "max_frame": found([2] * 6)}
    table = ranks_table("test", split, found([1, 2, 3, 1, 1, 2]), baselines, ratios)
    write_ranks(tmp_path / "ranks.parquet", table)
    rows = pq.read_table(tmp_path / "ranks.parquet").to_pylist()
    assert rows[3] == {
        "split": "test", "key": "vid_1#cap_1", "video": 1, "language": "ko", "rank": 1, "zero_shot_rank": 3,
        "max_frame_rank": 2, "moment_ratio": 1, "top_videos": [2, 0, 1], "top_scores": pytest.approx([0.5, 0.25, 0.1]),
    }  # fmt: skip
    assert [row["moment_ratio"] for row in rows] == [0.1, 0.1, 0.5, 1, None, 1]


def test_without_baselines_their_ranks_are_null(split):
    table = ranks_table("test", split, found([1] * 6), {}, np.full(6, np.nan))
    assert table.schema == RANKS
    for name in ("zero_shot_rank", "max_frame_rank", "moment_ratio"):
        assert table[name].null_count == 6
    assert pa.concat_tables([table, RANKS.empty_table()]).num_rows == 6
