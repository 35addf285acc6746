"""Zero-shot baselines, without a temporal model: the sentence's embedding against those of the frames.

`mean_pooled`: cosine with the mean of a video's frames, each at unit length before. `max_frame`: the largest cosine with a
frame. Both need frames and sentences in one space.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workflow_scripts.lib.features.datasets import take
from workflow_scripts.lib.features.encoders.identity import same_space
from workflow_scripts.lib.features.layout import FOLDERS
from workflow_scripts.lib.features.reader import FeatureReader, open_features
from workflow_scripts.lib.retrieval.encode import OPEN, Block, by_length, slices
from workflow_scripts.lib.retrieval.gallery import VECTORS, Gallery, stored

Baseline = Literal["mean_pooled", "max_frame"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)


class ZeroShot(NamedTuple):
    """Features in one space."""

    frames: FeatureReader
    sentences: FeatureReader


def zero_shot_features(features: Path, text_features: Path) -> ZeroShot | None:
    """Embeddings of frames and of sentences; None, and a line that says why, where they cannot be compared."""
    needed = [text_features / FOLDERS["sentence"]]
    if (features / FOLDERS["token"]).is_dir():  # of imported features, they may be all that there is
        needed.append(features / FOLDERS["video"])
    for folder in needed:
        if not folder.is_dir():
            print(f"{folder}: not there, so there are no zero-shot baselines", flush=True)
            return None
    found = ZeroShot(open_features(features, "video"), open_features(text_features, "sentence"))
    if not same_space(found.frames.encoder, found.sentences.encoder):
        print(
            f"{features} and {text_features}: frames and sentences are not known to be in one space, so there are no"
            " zero-shot baselines",
            flush=True,
        )
        return None
    return found


def frame_gallery(
    baseline: Baseline, frames: FeatureReader, numbers: np.ndarray, device: torch.device
) -> Gallery:
    """The videos with these indices [n], each as the mean of its frames, or as all of them."""
    if baseline == "mean_pooled":
        return stored(_means(frames, numbers), len(numbers), device)
    order, blocks = _by_frames(frames, numbers, VECTORS[device.type])
    return Gallery(order, blocks, lambda rows: _all_frames(take(frames, numbers[order[rows]])).to(device))


def sentence_vectors(sentences: FeatureReader, numbers: np.ndarray, captions: np.ndarray) -> Iterator[Block]:
    """Captions, each told by its video's index [n] and its position among that video's [n], as unit vectors [b, D]."""
    for rows in slices(len(numbers), OPEN):
        found = np.concatenate(take(sentences, numbers[rows], captions[rows]))
        yield np.arange(rows.start, rows.stop), _unit(found)


def _means(frames: FeatureReader, numbers: np.ndarray) -> Iterator[Block]:
    for rows in slices(len(numbers), OPEN):
        means = [_unit(array).mean(dim=0) for array in take(frames, numbers[rows])]
        yield np.arange(rows.start, rows.stop), F.normalize(torch.stack(means), dim=-1)[:, None]


def _by_frames(frames: FeatureReader, numbers: np.ndarray, together: int) -> tuple[np.ndarray, list[slice]]:
    """Positions, sorted by the number of frames among neighbours, and blocks of at most so many frames."""
    order, blocks, done = [], [], 0
    for opened in slices(len(numbers), OPEN):
        features = take(frames, numbers[opened])
        [sorted_ones] = by_length(features, OPEN)
        order.append(opened.start + sorted_ones)
        while done < opened.stop:
            longest = len(features[sorted_ones[done - opened.start]])
            blocks.append(slice(done, min(done + max(1, together // longest), opened.stop)))
            done = blocks[-1].stop
    return np.concatenate(order), blocks


def _all_frames(features: list[np.ndarray]) -> Tensor:
    """Frames at unit length [b, longest, D]; shorter videos repeat their last one, which no maximum sees."""
    longest = max(map(len, features))
    rows = np.arange(longest)
    return _unit(np.stack([array[np.minimum(rows, len(array) - 1)] for array in features]))


def _unit(rows: np.ndarray) -> Tensor:
    return F.normalize(torch.from_numpy(rows.astype(np.float32)), dim=-1)
