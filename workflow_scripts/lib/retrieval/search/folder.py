"""The folder of a search index: everything that a search takes, but for the encoder that turns a query into features.

index.json       what is here (`IndexInfo`)
index.faiss      the clips of all videos, map_size rows a video: as float16 vectors (exact), or as IVF-PQ codes
vectors.npy      beside IVF-PQ codes, [videos * map_size, hidden_size] float16: what candidates are scored by
videos.parquet   the videos in the same order (`places`)
model/           the GMMFormer that encoded them, and encodes queries
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.config_errors import explain
from workflow_scripts.lib.config_types import Section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import file_digest, read_json, write_json
from workflow_scripts.lib.retrieval.model_folder import WEIGHTS

INFO, FAISS, VECTORS, VIDEOS, MODEL = "index.json", "index.faiss", "vectors.npy", "videos.parquet", "model"

Kind = Literal["exact", "ivf_pq"]


class TextEncoder(Section):
    """What features of a query are made by."""

    section: EncoderConfig
    identity: dict[str, Any]
    """What the features of the corpus's captions were made by; a query's must be the same."""
    trained_clip: str | None
    """Folder of train_clip, for kind trained_clip."""


class Approximate(Section):
    """Sizes of an IVF-PQ index, and how good it is."""

    nlist: int
    m: int
    nprobe: int
    recall_at_10: float | None
    """Share of the exact search's best ten videos that are found; null: there were no captions to search with."""
    queries: int
    """Captions that this was measured with."""


class IndexInfo(Section):
    """Content of index.json."""

    format: Literal[1] = 1
    kind: Kind
    videos: int
    map_size: int
    hidden_size: int
    clip_weight: float
    splits: list[str]
    approximate: Approximate | None
    encoder: TextEncoder | None
    """None: the features were extracted elsewhere, by nobody knows what."""
    files: dict[str, int]
    """Bytes of each file."""
    model_sha256: str
    provenance: dict[str, Any]


def sizes(folder: Path) -> dict[str, int]:
    """Bytes of the files that an index consists of."""
    return {
        name: (folder / name).stat().st_size for name in (FAISS, VECTORS, VIDEOS) if (folder / name).exists()
    }


def model_digest(folder: Path) -> str:
    return file_digest(folder / MODEL / WEIGHTS)


def write_info(folder: Path, info: IndexInfo) -> None:
    write_json(folder / INFO, info.model_dump(mode="json"))


def read_info(folder: Path) -> IndexInfo:
    """What the folder says of itself; UserError when that is not so."""
    folder = Path(folder)
    if not (folder / INFO).is_file():
        raise UserError(f"{folder}: no search index, there is no {INFO} in it; build_index makes one")
    try:
        info = IndexInfo.model_validate(read_json(folder / INFO))
    except ValidationError as error:
        first = explain(error, IndexInfo).removeprefix("config: ").partition("\n")[0]
        raise UserError(f"{folder / INFO}: {first}; run build_index again") from None
    there = sizes(folder)
    for name, size in info.files.items():
        if there.get(name) != size:
            found = f"has {there[name]} bytes" if name in there else "is missing"
            raise UserError(
                f"{folder / name}: {found}, {INFO} says {size} bytes; copy the index again, or run build_index"
            )
    if not (folder / MODEL / WEIGHTS).is_file() or model_digest(folder) != info.model_sha256:
        raise UserError(
            f"{folder / MODEL}: not the model that encoded the videos of this index; run build_index again"
        )
    return info
