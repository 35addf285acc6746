"""FAISS indexes of clips, and the best videos for a query, by the best of their clips.

Row `video * map_size + segment` of [videos * map_size, hidden_size], by inner product; queries are unit vectors [Nq, D]
float32.
Under EXACT_BELOW videos all clips are compared, as float16. Of more, an inverted file of product-quantised residuals
(IVF-PQ; Jégou et al., "Product Quantization for Nearest Neighbor Search", TPAMI 2011) is made, whose candidates are scored
exactly.
Its sizes follow the guidelines of FAISS (https://github.com/facebookresearch/faiss/wiki/Guidelines-to-choose-an-index).
"""

import math
from typing import NamedTuple

import faiss
import numpy as np
import torch

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.progress import Progress
from workflow_scripts.lib.retrieval.encode import slices

EXACT_BELOW = 100_000  # videos
BLOCK = 2**16  # vectors that are float32 at a time
LISTS_PER_ROOT, MOST_LISTS = 4, 2**16  # nlist is 4 * sqrt(N), as a power of two
GRAPH_FROM = 2**14  # lists that are found by a graph (HNSW) and not one by one
DIMENSIONS_PER_BYTE = 8  # a code has hidden_size / 8 bytes
TRAINING_POINTS = 50  # vectors for each list to train on: FAISS wants 39 to 256
BITS = 8  # of a part of a code
LEAST = 39 * 2**BITS  # vectors to train codes on
CANDIDATES = 1024  # clips of an IVF-PQ index whose videos are scored exactly, at least
SCANNED = 512  # videos that are float32 at a time


class Hit(NamedTuple):
    """A video that was found."""

    row: int
    """Its place in the index."""
    segment: int
    """Its best clip, from 0."""
    score: float


def exact(vectors: np.ndarray) -> faiss.Index:
    """All vectors [N, D] float16 as they are."""
    index = faiss.IndexScalarQuantizer(
        vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    _add(index, vectors)
    return index


def ivf_pq(vectors: np.ndarray, rng: np.random.Generator) -> faiss.Index:
    """Codes of all vectors [N, D], trained on some of them. UserError when there are too few."""
    count, width = vectors.shape
    if count < LEAST:
        raise UserError(
            f"--approximate: {count} clips are too few for an IVF-PQ index, which is trained on {LEAST} at least; leave"
            " the flag out"
        )
    lists, code = list_count(count), code_size(width)
    graph = "_HNSW32" if lists >= GRAPH_FROM else ""
    index = faiss.index_factory(width, f"IVF{lists}{graph},PQ{code}x{BITS}", faiss.METRIC_INNER_PRODUCT)
    faiss.extract_index_ivf(index).cp.seed = int(rng.integers(2**31))
    rows = np.sort(rng.choice(count, min(count, max(LEAST, TRAINING_POINTS * lists)), replace=False))
    print(
        f"IVF-PQ of {lists} lists, {code} bytes a clip: training on {len(rows)} of {count} clips", flush=True
    )
    index.train(vectors[rows].astype(np.float32))
    _add(index, vectors)
    return index


def list_count(count: int) -> int:
    """Lists of an inverted file of so many vectors."""
    wanted = 2 ** round(math.log2(LISTS_PER_ROOT * math.sqrt(count)))
    return min(wanted, MOST_LISTS, 2 ** int(math.log2(count / 39)))


def code_size(width: int) -> int:
    """Bytes of a code: the largest number up to width / 8 that divides the width."""
    return next(m for m in range(max(1, width // DIMENSIONS_PER_BYTE), 0, -1) if width % m == 0)


def exact_videos(index: faiss.Index, map_size: int, queries: np.ndarray, top: int) -> list[list[Hit]]:
    """The best videos by an index that compares all clips: among so many clips are `top` videos at least."""
    scores, clips = index.search(queries, min(top * map_size, index.ntotal))
    return [_videos(*found, map_size)[:top] for found in zip(clips, scores, strict=True)]


def approximate_videos(
    index: faiss.Index, vectors: np.ndarray, queries: np.ndarray, top: int
) -> list[list[Hit]]:
    """The best among candidates, scored by all vectors [N, map_size, D] of these videos; possibly fewer than `top`."""
    map_size = vectors.shape[1]
    _, candidates = index.search(queries, min(max(CANDIDATES, top * map_size), index.ntotal))
    found = []
    for query, clips in zip(queries, candidates, strict=True):
        rows = np.unique(clips[clips >= 0] // map_size)
        scores = vectors[rows].astype(np.float32) @ query
        best = np.argsort(-scores.max(axis=1, initial=-np.inf), kind="stable")[:top]
        found.append([Hit(int(rows[i]), int(scores[i].argmax()), float(scores[i].max())) for i in best])
    return found


def scanned_videos(vectors: np.ndarray, queries: np.ndarray, top: int) -> np.ndarray:
    """Rows [Nq, top] of the best videos by all vectors [N, map_size, D], in one pass over them."""
    asked = torch.from_numpy(queries)
    scores, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.long)
    for some in slices(len(vectors), SCANNED):
        block = torch.from_numpy(vectors[some].astype(np.float32))
        of_block = (asked @ block.flatten(0, 1).T).view(len(queries), *block.shape[:2]).amax(dim=2)
        here = torch.arange(some.start, some.stop).expand(len(queries), -1)
        scores, rows = torch.cat([scores, of_block], dim=1), torch.cat([rows, here], dim=1)
        scores, best = scores.topk(min(top, scores.shape[1]))
        rows = rows.gather(1, best)
    return rows.numpy()


def recall(found: list[list[Hit]], right: np.ndarray) -> float:
    """Share of the right rows [Nq, k] that are found, in percent."""
    shares = [
        np.isin(rows, [hit.row for hit in hits]).mean() for hits, rows in zip(found, right, strict=True)
    ]
    return float(100 * np.mean(shares))


def _videos(clips: np.ndarray, scores: np.ndarray, map_size: int) -> list[Hit]:
    """Each video once, with its best clip; `clips` are the best first."""
    rows, segments = np.divmod(clips, map_size)
    _, first = np.unique(rows, return_index=True)
    return [Hit(int(rows[i]), int(segments[i]), float(scores[i])) for i in np.sort(first)]


def _add(index: faiss.Index, vectors: np.ndarray) -> None:
    with Progress(len(vectors), 0, "vector") as progress:
        for rows in slices(len(vectors), BLOCK):
            index.add(vectors[rows].astype(np.float32))
            progress.count(more=rows.stop - rows.start)
