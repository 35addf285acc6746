"""A search index, opened: queries go in, videos with the span of their best clip come out."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.search.clips import Hit, approximate_videos, exact_videos
from workflow_scripts.lib.retrieval.search.folder import FAISS, VECTORS, VIDEOS, IndexInfo, read_info
from workflow_scripts.lib.retrieval.search.places import Place, Places, Span


class Found(NamedTuple):
    """A video, for a query."""

    rank: int
    """From 1."""
    score: float
    place: Place
    span: Span
    """Of its best clip."""


class SearchIndex:
    """The folder that build_index made. Its vectors are mapped, and read where a search needs them.

    UserError names the file that is missing, damaged, or of another index.
    """

    def __init__(self, folder: Path):
        self.info = info = read_info(folder)
        self._places = Places(folder / VIDEOS)
        if len(self._places) != info.videos:
            raise UserError(
                f"{folder / VIDEOS}: has {len(self._places)} videos, the index has {info.videos}; run build_index again"
            )
        self._clips = _read_clips(folder / FAISS, info)
        self._vectors = _map_vectors(folder / VECTORS, info) if info.kind == "ivf_pq" else None

    def search(self, queries: np.ndarray, top: int) -> list[list[Found]]:
        """The best videos for each of the unit vectors [Nq, D] float32, best first; `top` at most."""
        top = min(top, self.info.videos)
        if self._vectors is None:
            hits = exact_videos(self._clips, self.info.map_size, queries, top)
        else:
            hits = approximate_videos(self._clips, self._vectors, queries, top)
        return [self._found(of_query) for of_query in hits]

    def _found(self, hits: Sequence[Hit]) -> list[Found]:
        places = self._places.rows([hit.row for hit in hits])
        return [
            Found(rank, hit.score, place, place.span(hit.segment, self.info.map_size))
            for rank, (hit, place) in enumerate(zip(hits, places, strict=True), start=1)
        ]


def _read_clips(file: Path, info: IndexInfo) -> faiss.Index:
    try:
        index = faiss.read_index(str(file), faiss.IO_FLAG_MMAP_IFC)
    except (RuntimeError, MemoryError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise UserError(f"{file}: FAISS cannot read it ({reason}); run build_index again") from None
    wanted = info.videos * info.map_size, info.hidden_size
    if (index.ntotal, index.d) != wanted:
        raise UserError(
            f"{file}: has {index.ntotal} vectors of {index.d} numbers, expected {wanted[0]} of {wanted[1]}; run build_index"
            " again"
        )
    return index


def _map_vectors(file: Path, info: IndexInfo) -> np.ndarray:
    shape = info.videos, info.map_size, info.hidden_size
    try:
        return np.load(file, mmap_mode="r").reshape(shape)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{file}: not the vectors of {info.videos} videos ({error}); run build_index again"
        ) from None
