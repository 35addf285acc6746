"""Make a search index: encode the videos, make them searchable, and measure what an approximate search loses."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np
import torch

from workflow_scripts.lib.compute import device_name
from workflow_scripts.lib.config import EncoderConfig, RetrievalConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import caption_table
from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.made_by import parsed
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.files import whole_folder
from workflow_scripts.lib.frames.progress import Progress
from workflow_scripts.lib.frames.space import readable
from workflow_scripts.lib.keys import video_key
from workflow_scripts.lib.provenance import provenance
from workflow_scripts.lib.retrieval.data import visual_reader
from workflow_scripts.lib.retrieval.encode import encode_queries, encode_videos
from workflow_scripts.lib.retrieval.model import GMMFormer
from workflow_scripts.lib.retrieval.model_folder import CONFIG, WEIGHTS, read_model
from workflow_scripts.lib.retrieval.moments import CorpusTables
from workflow_scripts.lib.retrieval.search import clips, folder
from workflow_scripts.lib.retrieval.search.folder import Approximate, IndexInfo, Kind, TextEncoder
from workflow_scripts.lib.retrieval.search.places import write_places

QUERIES = 256  # captions that recall is measured with
GOOD = 95.0  # percent of the exact search's best ten that shall be found
NPROBE = 16  # lists to begin with: doubled until the recall is good, or a quarter of all lists is searched


@dataclass(frozen=True)
class Sources:
    """What an index is made of."""

    config: RetrievalConfig
    config_file: Path
    model: Path
    features: Path
    text_features: Path
    tables: CorpusTables
    splits: Sequence[str]
    encoder: EncoderConfig | None
    """Section of the encoder of the captions; None: it is not known."""
    trained_clip: Path | None
    seed: int


def build_index(sources: Sources, index: Path, device: torch.device, kind: Kind | None = None) -> IndexInfo:
    """Write the folder `index`, whole or not at all; `kind` None: by the number of videos.

    UserError before anything is done where `index` holds something else than an index.

    Memory is that of a block of videos and of the FAISS index (exact: all vectors as float16, IVF-PQ: about
    hidden_size / 8 + 8 bytes a clip, and what it is trained on). Beside an exact index, its vectors are on the disk until it
    is written.
    """
    model = read_model(sources.model).to(device)
    config = model.config
    videos, texts = (
        visual_reader(sources.features, sources.config),
        open_features(sources.text_features, "text"),
    )
    encoder = _text_encoder(sources, texts, config.query_input_size)
    with whole_folder(index, made_of=folder.INFO) as made:
        numbers = write_places(made / folder.VIDEOS, sources.tables, sources.splits, videos, config.map_size)
        if not len(numbers):
            raise UserError(
                f"{sources.features}: no video of the splits {', '.join(sources.splits)} has features, there is nothing to"
                " search"
            )
        kind = kind or ("exact" if len(numbers) < clips.EXACT_BELOW else "ivf_pq")
        vectors = _write_vectors(made / folder.VECTORS, model, videos, numbers, sources.config.clip_weight)
        approximate = _write_clips(made, kind, vectors, sources, model, texts)
        _copy_model(sources.model, made / folder.MODEL)
        info = IndexInfo(
            kind=kind,
            videos=len(numbers),
            map_size=config.map_size,
            hidden_size=config.hidden_size,
            clip_weight=sources.config.clip_weight,
            splits=list(sources.splits),
            approximate=approximate,
            encoder=encoder,
            files=folder.sizes(made),
            model_sha256=folder.model_digest(made),
            provenance=provenance(config=sources.config_file, seed=sources.seed, device=device_name(device)),
        )
        folder.write_info(made, info)
    return info


def _text_encoder(sources: Sources, texts: FeatureReader, width: int) -> TextEncoder | None:
    """What encodes a query. UserError when the features of captions are not those that the model reads, `width` numbers a
    token, or do not say what made them."""
    key = next(iter(texts), None)
    if key is not None and texts[key].shape[-1] != width:
        raise UserError(
            f"{texts.file_of(key)}: {key} has tokens of {texts[key].shape[-1]} numbers, the model {sources.model} reads"
            f" {width}; give the --text-features that it was trained on"
        )
    if sources.encoder is None:
        print("no --encoder: the index can be built, but not be searched by text", flush=True)
        return None
    identity = parsed(texts.encoder)
    if not isinstance(identity, dict):
        raise UserError(
            f"{texts.root}: these features of captions do not say which encoder made them, so that a query cannot be given"
            " the same; leave --encoder out, or extract them with it"
        )
    trained_clip = str(sources.trained_clip) if sources.trained_clip else None
    return TextEncoder(section=sources.encoder, identity=identity, trained_clip=trained_clip)


def _write_vectors(
    file: Path, model: GMMFormer, videos: FeatureReader, numbers: np.ndarray, clip_weight: float
) -> np.ndarray:
    """The fused vectors of all videos, float16, written where they belong; mapped as [N, map_size, D]."""
    map_size, width = model.config.map_size, model.config.hidden_size
    rows = np.lib.format.open_memmap(file, "w+", np.float16, (len(numbers) * map_size, width))
    print(f"{len(numbers)} videos, {readable(rows.nbytes)} of vectors", flush=True)
    with file.open("r+b") as handle:  # a map of a file with holes dies on a full disk
        os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)
    vectors = rows.reshape(len(numbers), map_size, width)
    with Progress(len(numbers), 0, "video") as progress:
        for positions, fused in encode_videos(model, videos, numbers, clip_weight):
            finite = fused.isfinite().flatten(1).all(dim=1).cpu().numpy()
            if not finite.all():
                video = video_key(int(numbers[positions[finite.argmin()]]))
                raise UserError(
                    f"{videos.file_of(video)}: the model makes NaN of the features of {video}; look at them with"
                    " verify_features, and at the loss of the training"
                )
            vectors[positions] = fused.half().cpu().numpy()
            progress.count(more=len(positions))
    rows.flush()
    return vectors


def _write_clips(
    made: Path, kind: Kind, vectors: np.ndarray, sources: Sources, model: GMMFormer, texts: FeatureReader
) -> Approximate | None:
    """The FAISS index of the vectors; they stay beside it where it does not hold them."""
    flat, rng = vectors.reshape(-1, vectors.shape[2]), np.random.default_rng(sources.seed % 2**63)
    if kind == "exact":
        _write_index(made / folder.FAISS, clips.exact(flat))
        (made / folder.VECTORS).unlink()  # mapped until it is let go of
        return None
    index = clips.ivf_pq(flat, rng)
    found = _tuned(index, vectors, _some_captions(sources, model, texts, rng))
    _write_index(made / folder.FAISS, index)
    return found


def _write_index(file: Path, index: faiss.Index) -> None:
    with file.open("wb") as handle:  # a file of its own FAISS closes without telling that it could not
        faiss.write_index(index, faiss.PyCallbackIOWriter(handle.write))


def _tuned(index: faiss.Index, vectors: np.ndarray, queries: np.ndarray) -> Approximate:
    """The index with the smallest nprobe whose recall is good, as far as there are captions to tell."""
    inverted = faiss.extract_index_ivf(index)
    sizes = {"nlist": inverted.nlist, "m": clips.code_size(index.d)}
    inverted.nprobe, most = min(NPROBE, inverted.nlist), max(NPROBE, inverted.nlist // 4)
    if not len(queries):
        print("no captions to measure the recall with", flush=True)
        return Approximate(**sizes, nprobe=inverted.nprobe, recall_at_10=None, queries=0)
    right = clips.scanned_videos(vectors, queries, 10)
    while True:
        found = clips.recall(clips.approximate_videos(index, vectors, queries, 10), right)
        print(f"{inverted.nprobe} lists a search: recall@10 {found:.1f}% of the exact search", flush=True)
        if found >= GOOD or 2 * inverted.nprobe > most:
            break
        inverted.nprobe *= 2
    return Approximate(**sizes, nprobe=inverted.nprobe, recall_at_10=found, queries=len(queries))


def _some_captions(
    sources: Sources, model: GMMFormer, texts: FeatureReader, rng: np.random.Generator
) -> np.ndarray:
    """Some captions of val and test as unit vectors [Nq, D]; of train where these have none."""
    for names in (("val", "test"), ("train",)):
        tables = [
            CaptionTable(caption_table(sources.features, name), sources.config.languages) for name in names
        ]
        videos = np.concatenate([table.videos() for table in tables])
        captions = np.concatenate([table.captions() for table in tables])
        if len(videos):
            rows = np.sort(rng.choice(len(videos), min(QUERIES, len(videos)), replace=False))
            queries = np.empty((len(rows), model.config.hidden_size), dtype=np.float32)
            for positions, block in encode_queries(model, texts, videos[rows], captions[rows]):
                queries[positions] = block.cpu().numpy()
            return queries
    return np.empty((0, model.config.hidden_size), dtype=np.float32)


def _copy_model(source: Path, target: Path) -> None:
    target.mkdir()
    for name in (CONFIG, WEIGHTS):
        shutil.copyfile(source / name, target / name)
