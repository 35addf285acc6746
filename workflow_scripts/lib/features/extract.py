"""Run a frozen encoder over a shard's frames and captions."""

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from workflow_scripts.lib.features.encoders import Encoder, Frames
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.frames.shard import FrameShard
from workflow_scripts.lib.keys import video_key

A = TypeVar("A")
B = TypeVar("B")


def extract_frames(
    frames: Path,
    encoder: Encoder,
    batch_size: int,
    threads: int,
    embeddings: ShardWriter,
    tokens: ShardWriter,
) -> int:
    """Encode all frames of a tar, batches reaching over the borders of videos; returns how many.

    Writes [T, D] a video to `embeddings` and, where the encoder keeps them, [T, P, Dv] to `tokens`.
    """
    done = 0
    with FrameShard(frames) as shard:
        jpegs = ((video, jpeg) for video in shard.videos for jpeg in shard.jpegs(video))
        ready = ahead(lambda item: (item[0], _pixels(item[1], encoder)), jpegs, threads, 2 * batch_size)
        collector = _Videos(embeddings, tokens)
        for batch in batched(ready, batch_size):
            found = encoder.encode_frames(_stack([pixels for _, pixels in batch]))
            collector.add([video for video, _ in batch], found)
            done += len(batch)
        collector.close()
    return done


def extract_captions(
    captions: Iterable[tuple[str, str]],
    encoder: Encoder,
    batch_size: int,
    tokens: ShardWriter,
    sentences: ShardWriter,
) -> int:
    """Encode (key, text) pairs; writes [L, D] to `tokens` and [1, D] to `sentences`, returns how many.

    Says how many fill the text tower's context, and so may have been cut.
    """
    done = full = 0
    for batch in batched(captions, batch_size):
        found = encoder.encode_captions([text for _, text in batch])
        for (key, _), caption in zip(batch, found, strict=True):
            full += len(caption.tokens) >= encoder.context_length
            tokens.write(key, _array(caption.tokens))
            sentences.write(key, _array(caption.sentence[None]))
        done += len(batch)
    if full:
        print(
            f"{full} of {done} captions fill the text tower's context of {encoder.context_length} tokens: "
            "what was longer is cut",
            flush=True,
        )
    return done


class _Videos:
    """Puts the frames of batches together again, video after video."""

    def __init__(self, embeddings: ShardWriter, tokens: ShardWriter):
        self.embeddings, self.tokens = embeddings, tokens
        self.video: int | None = None
        self.parts: list[Frames] = []

    def add(self, videos: list[int], found: Frames) -> None:
        borders = np.flatnonzero(np.diff(videos)) + 1
        for start, end in zip([0, *borders], [*borders, len(videos)], strict=True):
            if videos[start] != self.video:
                self.close()
                self.video = videos[start]
            tokens = None if found.tokens is None else found.tokens[start:end]
            self.parts.append(Frames(found.embeddings[start:end], tokens))

    def close(self) -> None:
        """Write the video that is complete."""
        if not self.parts:
            return
        key = video_key(self.video)
        self.embeddings.write(key, _array(torch.cat([part.embeddings for part in self.parts])))
        if self.parts[0].tokens is not None:
            self.tokens.write(key, _array(torch.cat([part.tokens for part in self.parts])))
        self.parts = []


def ahead(work: Callable[[A], B], items: Iterable[A], threads: int, depth: int) -> Iterator[B]:
    """`map(work, items)` in threads, at most `depth` items ahead of the consumer, in order."""
    items = iter(items)
    with ThreadPoolExecutor(max(1, threads)) as pool:
        waiting = deque(pool.submit(work, item) for item in islice(items, depth))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(items, 1))


def batched(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Lists of `size` items; the last may be shorter."""
    items = iter(items)
    while batch := list(islice(items, size)):
        yield batch


def _pixels(jpeg: bytes, encoder: Encoder) -> dict[str, Tensor]:
    return encoder.preprocess(Image.open(io.BytesIO(jpeg)).convert("RGB"))


def _stack(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.stack([sample[name] for sample in samples]) for name in samples[0]}


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()
