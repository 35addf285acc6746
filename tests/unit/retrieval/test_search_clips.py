"""The best videos by FAISS indexes of clips, against all products."""

import subprocess
import sys

import numpy as np
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.search import clips

MAP_SIZE, WIDTH = 4, 8


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture(scope="module", autouse=True)
def small_codes():
    """As good as those of 8 bits for so few videos, and trained on fewer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "BITS", 4)
        patch.setattr(clips, "LEAST", 39 * 2**4)
        yield


@pytest.fixture(scope="module")
def vectors():
    """[N, MAP_SIZE, WIDTH] float16: clips of a video are like each other."""
    rng = np.random.default_rng(0)
    videos = rng.normal(size=(400, 1, WIDTH))
    return unit(videos + 0.3 * rng.normal(size=(400, MAP_SIZE, WIDTH))).astype(np.float16)


@pytest.fixture(scope="module")
def queries():
    return unit(np.random.default_rng(1).normal(size=(20, WIDTH))).astype(np.float32)


@pytest.fixture(scope="module")
def approximate(vectors):
    return clips.ivf_pq(vectors.reshape(-1, WIDTH), np.random.default_rng(0))


def all_products(vectors, queries):
    return np.einsum("nmd,qd->qnm", vectors.astype(np.float32), queries)


def test_exact_search_and_scan_find_the_best_of_all_products(vectors, queries):
    products = all_products(vectors, queries)
    best = np.argsort(-products.max(axis=2), axis=1)[:, :10]
    found = clips.exact_videos(clips.exact(vectors.reshape(-1, WIDTH)), MAP_SIZE, queries, 10)
    assert [[hit.row for hit in hits] for hits in found] == best.tolist()
    assert clips.scanned_videos(vectors, queries, 10).tolist() == best.tolist()
    for query, hits in enumerate(found):
        for hit in hits:
            assert hit.segment == products[query, hit.row].argmax()
            assert hit.score == pytest.approx(products[query, hit.row].max(), abs=1e-5)


def test_a_video_whose_clips_are_all_better_than_those_of_others_is_one_video(queries):
    vectors = np.zeros((6, MAP_SIZE, WIDTH), dtype=np.float16)
    vectors[:, :, 0] = np.arange(6)[:, None]
    query = np.eye(WIDTH, dtype=np.float32)[:1]
    [hits] = clips.exact_videos(clips.exact(vectors.reshape(-1, WIDTH)), MAP_SIZE, query, 5)
    assert [hit.row for hit in hits] == [5, 4, 3, 2, 1]


def test_more_videos_asked_for_than_there_are(vectors, queries):
    index = clips.exact(vectors[:3].reshape(-1, WIDTH))
    assert [len(hits) for hits in clips.exact_videos(index, MAP_SIZE, queries, 10)] == [3] * 20
    assert clips.scanned_videos(vectors[:3], queries, 10).shape == (20, 3)


def test_candidates_are_scored_exactly(vectors, queries, approximate):
    products = all_products(vectors, queries).max(axis=2)
    for query, hits in enumerate(clips.approximate_videos(approximate, vectors, queries, 10)):
        scores = [hit.score for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert scores == pytest.approx([products[query, hit.row] for hit in hits], abs=1e-5)


def test_searching_all_lists_finds_nearly_all(vectors, queries, approximate):
    right = clips.scanned_videos(vectors, queries, 10)
    recalls = []
    for nprobe in (1, approximate.nlist):
        approximate.nprobe = nprobe
        found = clips.approximate_videos(approximate, vectors, queries, 10)
        recalls.append(clips.recall(found, right))
    assert recalls[0] < recalls[1]
    assert recalls[1] > 95


def test_recall_counts_what_is_found():
    hits = [[clips.Hit(3, 0, 0.9), clips.Hit(4, 0, 0.8)], []]
    assert clips.recall(hits, np.array([[4, 5], [1, 2]])) == 25


def test_the_same_seed_gives_the_same_index(vectors, queries, approximate):
    again = clips.ivf_pq(vectors.reshape(-1, WIDTH), np.random.default_rng(0))
    approximate.nprobe = again.nprobe = 4
    assert np.array_equal(again.search(queries, 50)[1], approximate.search(queries, 50)[1])


def test_too_few_clips_to_train_on_are_refused(vectors):
    with pytest.raises(UserError, match=r"--approximate: 400 clips are too few"):
        clips.ivf_pq(vectors[:100].reshape(-1, WIDTH), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("count", "lists"), [(9984, 256), (3_200_000, 8192), (342_000_000, 65536), (10**10, 65536)]
)
def test_lists_follow_the_square_root(count, lists):
    assert clips.list_count(count) == lists
    assert count >= 39 * lists


@pytest.mark.parametrize(("width", "code"), [(384, 48), (128, 16), (100, 10), (8, 1), (13, 1), (4, 1)])
def test_codes_divide_the_width(width, code):
    assert clips.code_size(width) == code


@pytest.mark.slow
@pytest.mark.parametrize("order", [("faiss", "torch"), ("torch", "faiss")])
def test_faiss_and_torch_share_a_process_with_threads(order):
    """Both bring an OpenMP runtime of their own."""
    code = f"""
import {order[0]}, {order[1]}
import numpy as np
faiss.omp_set_num_threads(2)
torch.set_num_threads(2)
x = np.random.default_rng(0).normal(size=(2000, 64)).astype(np.float32)
index = faiss.index_factory(64, "IVF16,Flat", faiss.METRIC_INNER_PRODUCT)
for _ in range(2):
    index.train(x)
    y = torch.from_numpy(x)
    assert (y @ y[:64].T).isfinite().all()
index.add(x)
index.nprobe = 4
layer = torch.nn.Linear(64, 64)
layer(y).sum().backward()
print(index.search(x[:100], 5)[1].shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=900)
    assert (done.returncode, done.stdout.strip()) == (0, "(100, 5)"), done.stderr
