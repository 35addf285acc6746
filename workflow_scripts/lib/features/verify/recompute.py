"""Does an encoder give again what is stored? A sample of videos and captions is encoded once more.

This alone finds features that were wrong from the start, such as those of another video, whose checksums are right.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.batches import CaptionBatches, FrameBatches
from workflow_scripts.lib.features.encoders.encoder import Encoder, load_encoder
from workflow_scripts.lib.features.extract import encoded_captions, encoded_frames
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import Kind, Side
from workflow_scripts.lib.features.made_by import difference, parsed
from workflow_scripts.lib.features.verify.compare import Comparison, Encode, Encoded
from workflow_scripts.lib.features.verify.problems import Problem, Problems
from workflow_scripts.lib.features.verify.structure import Features, Opened
from workflow_scripts.lib.keys import video_key

TOLERANCE = {"fp32": 0.01, "fp16": 0.03, "bf16": 0.1}
"""By precision: how far a row may be from the stored one, relative to its length. Other batches, devices and versions
of a library round differently; of the number format of the shards, float16 adds 0.0005 at most."""


@dataclass
class Recomputed:
    """What was encoded again."""

    items: dict[Side, int] = field(default_factory=dict)
    cosine: float = 1.0
    """The smallest between a stored row and the new one, of those that are the same within the tolerance."""
    left_out: list[str] = field(default_factory=list)
    """What was not encoded again, and why."""


def recompute(
    features: Features,
    config: EncoderConfig,
    trained_clip: Path | None,
    device: torch.device,
    frames: Path | None,
    corpus: Path | None,
    sample: int,
    rng: np.random.Generator,
    problems: Problems,
) -> Recomputed:
    """Encode `sample` videos (if there are `frames`) and as many captions (if there is a `corpus`) and compare."""
    done = Recomputed()
    for side, source in (("video", frames), ("text", corpus)):
        shards = [shard for shard in features.shards.get(side, []) if len(shard.index)]
        if source is None or side not in config.sides() or not shards:
            continue
        encoder = load_encoder(config, trained_clip, device, sides=[side])
        if not _same_encoder(shards[0], encoder, problems):
            continue
        encode = {"video": _videos, "text": _captions}[side](source, encoder, config)
        comparison = Comparison(features, side, encode, TOLERANCE[config.precision], problems)
        for shard, rows in _sample(shards, sample, rng, problems):
            if side == "video" and not frames_of(source, shard.number)[0].is_file():
                done.left_out.append(f"frames of shard {shard.number} are not there")
                continue
            comparison.shard(shard, rows)
        comparison.tell()
        done.items[side] = comparison.items
        done.cosine = min(done.cosine, comparison.cosine)
    return done


def _same_encoder(shard: Opened, encoder: Encoder, problems: Problems) -> bool:
    """One sentence about another model, and not a thousand about its numbers."""
    different = difference(parsed(shard.index.encoder), encoder.identity)
    if different is not None:
        found = f"the configuration gives another encoder than made it: {different}"
        remedy = "give the section (encoder.yaml) and the model that made the features, or make them again"
        problems.add(Problem(shard.file, None, found, None, remedy))
    return different is None


def _sample(
    shards: list[Opened], sample: int, rng: np.random.Generator, problems: Problems
) -> Iterator[tuple[Opened, list[int]]]:
    """Rows of shards, drawn from all of them alike, but for those that a problem was found in."""
    first = np.cumsum([0, *(len(shard.index) for shard in shards)])
    chosen = np.sort(rng.choice(first[-1], min(sample, int(first[-1])), replace=False))
    for i, shard in enumerate(shards):
        rows = (chosen[(chosen >= first[i]) & (chosen < first[i + 1])] - first[i]).tolist()
        rows = [row for row in rows if not problems.has(shard.file, shard.index.keys.key(row))]
        if rows:
            yield shard, rows


def frames_of(folder: Path, shard: int) -> tuple[Path, Path]:
    """Tar and status table of a shard."""
    return folder / f"frames_{shard:03d}.tar", folder / f"status_{shard:03d}.parquet"


def _videos(frames: Path, encoder: Encoder, config: EncoderConfig) -> Encode:
    """Encodes in the batches of the extraction: on the same machine, the same bytes."""

    def encode(shard: Opened, rows: list[int]) -> Iterator[Encoded]:
        with FrameBatches(*frames_of(frames, shard.number), encoder, config.batch_size) as batches:
            ends = np.cumsum(batches.lengths)
            videos = shard.index.keys.videos[rows]
            for video, place in zip(videos.tolist(), batches.keys.rows(videos).tolist(), strict=True):
                if place < 0:
                    raise UserError(
                        f"{batches.tar}: no frames of {video_key(video)}; delete the shard of features"
                    )
                end = int(ends[place])
                start = end - int(batches.lengths[place])
                numbers = batches.of_rows("video", np.arange(start, end)).tolist()
                found: Encoded = {}
                for batch, values in encoded_frames(batches, encoder, numbers, config.dtype):
                    its_rows, which = batches.rows("video", batch)
                    own = (its_rows >= start) & (its_rows < end)
                    for kind, array in values.items():
                        whole = found.setdefault(kind, np.empty((end - start, *array.shape[1:]), array.dtype))
                        whole[its_rows[own] - start] = array[which[own]]
                yield found

    return encode


def _captions(corpus: Path, encoder: Encoder, config: EncoderConfig) -> Encode:
    def encode(shard: Opened, rows: list[int]) -> Iterator[Encoded]:
        captions = CaptionBatches(_rows_of(corpus, shard, rows), encoder, config.batch_size)
        parts: dict[Kind, list[np.ndarray]] = defaultdict(list)
        for batch, values in encoded_captions(captions, encoder, range(len(captions)), config.dtype):
            for kind, array in values.items():
                parts[kind].append(array[captions.rows(kind, batch)[1]])
        words = np.split(np.concatenate(parts["text"]), np.cumsum(captions.lengths)[:-1])
        for text, sentence in zip(words, np.concatenate(parts["sentence"]), strict=True):
            yield {"text": text, "sentence": sentence[None]}

    return encode


def _rows_of(corpus: Path, shard: Opened, rows: list[int]) -> pa.Table:
    """The captions of these rows of a shard."""
    file = corpus / f"captions_{shard.number:03d}.parquet"
    try:
        table = pq.read_table(file, columns=["video", "caption", "text"])
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these kinds
        raise UserError(f"{file}: cannot be read as a corpus table ({error}); run snakemake again") from None
    keys = shard.index.keys
    places = Keys(table["video"].to_numpy(), table["caption"].to_numpy()).rows(
        keys.videos[rows], keys.captions[rows]
    )
    if (places < 0).any():
        key = keys.key(rows[int(np.argmin(places))])
        raise UserError(f"{file}: no caption {key}, which {shard.file.name} has; run snakemake again")
    return table.take(places)
