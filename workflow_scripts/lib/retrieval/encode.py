"""Videos and captions as the vectors that a search multiplies, encoded in blocks of similar length.

A video's score is clip_weight * (largest cosine of the caption and a clip) + (1 - clip_weight) * (cosine of the caption and
the frames). The second term is the same for all clips of the video, so that the score is the largest product of the
caption, at unit length, and one of `map_size` fused vectors: clip_weight * clip + (1 - clip_weight) * frames, each at unit
length before it is fused.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from workflow_scripts.lib.features.datasets import take
from workflow_scripts.lib.features.reader import FeatureReader
from workflow_scripts.lib.retrieval.data import query_inputs, video_inputs
from workflow_scripts.lib.retrieval.model import GMMFormer

OPEN = 1024  # videos or captions whose features are open at a time, and sorted by length
VIDEOS = {"cpu": 32, "cuda": 256}  # of a forward pass: what fits the caches, or fills the GPU
QUERIES = {"cpu": 64, "cuda": 1024}
ORIGINAL_VIDEOS = 100

Block = tuple[np.ndarray, Tensor]
"""Positions [b] among what was to be encoded, and their vectors."""


def encode_videos(
    model: GMMFormer, videos: FeatureReader, numbers: np.ndarray, clip_weight: float
) -> Iterator[Block]:
    """The videos with these indices [n] as fused vectors [b, M, D], float32 on the model's device, block by block.

    Of a model with `window_length: batch`, an embedding depends on the padding of its block. Its blocks are those that the
    original's evaluation makes: a hundred videos each, in the order given.
    """
    size, original = VIDEOS[_device(model).type], model.config.window_length == "batch"
    for opened in slices(len(numbers), ORIGINAL_VIDEOS if original else OPEN):
        features = take(videos, numbers[opened], width=model.config.visual_input_size)
        for block in [np.arange(len(features))] if original else by_length(features, size):
            fused = fused_vectors(model, [features[place] for place in block], clip_weight)
            yield opened.start + block, fused


def encode_queries(
    model: GMMFormer, texts: FeatureReader, numbers: np.ndarray, captions: np.ndarray
) -> Iterator[Block]:
    """Captions, each told by its video's index [n] and its position among that video's [n], as unit vectors [b, D]."""
    size = QUERIES[_device(model).type]
    for opened in slices(len(numbers), OPEN):
        features = take(texts, numbers[opened], captions[opened], width=model.config.query_input_size)
        for block in by_length(features, size):
            yield opened.start + block, query_vectors(model, [features[place] for place in block])


@torch.inference_mode()
def fused_vectors(model: GMMFormer, features: Sequence[np.ndarray], clip_weight: float) -> Tensor:
    """Frame features [T, Dv] of some videos -> [b, M, D] float32; encoded together."""
    inputs = video_inputs(features, model.config)
    clips, frame = model.eval().encode_video(*(part.to(_device(model)) for part in inputs))
    return clip_weight * F.normalize(clips, dim=-1) + (1 - clip_weight) * F.normalize(frame, dim=-1)[:, None]


@torch.inference_mode()
def query_vectors(model: GMMFormer, features: Sequence[np.ndarray]) -> Tensor:
    """Token features [L, Dq] of some captions -> unit vectors [b, D] float32."""
    inputs = query_inputs(features, model.config)
    return F.normalize(model.eval().encode_query(*(part.to(_device(model)) for part in inputs)), dim=-1)


def by_length(features: Sequence[np.ndarray], size: int) -> list[np.ndarray]:
    """Positions from the longest features to the shortest, so many at a time."""
    order = np.argsort([-len(rows) for rows in features], kind="stable")
    return [order[some] for some in slices(len(order), size)]


def slices(end: int, size: int, start: int = 0) -> list[slice]:
    """From start to end - 1 in pieces of `size`; the last may be smaller."""
    return [slice(first, min(first + size, end)) for first in range(start, end, size)]


def _device(model: GMMFormer) -> torch.device:
    return next(model.parameters()).device
