"""Run a frozen encoder over a shard's frames and captions."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.batches import Batches, CaptionBatches, FrameBatches
from workflow_scripts.lib.features.encoders.encoder import Encoder
from workflow_scripts.lib.features.index import Keys
from workflow_scripts.lib.features.layout import Kind
from workflow_scripts.lib.features.planned import Plan, PlannedShard
from workflow_scripts.lib.features.space import need, require_space
from workflow_scripts.lib.frames.progress import Progress
from workflow_scripts.lib.processes import ALONE, Processes

Encoded = Iterator[tuple[int, dict[Kind, np.ndarray]]]
"""Batches with their numbers: by kind of shard, what `Batches.rows` points to."""


def extract_videos(
    frames: FrameBatches,
    encoder: Encoder,
    files: Mapping[Kind, Path],
    dtype: str,
    *,
    workers: int = 0,
    shards: int = 1,
    whole_corpus: bool = True,
    processes: Processes = ALONE,
) -> None:
    """Write [T, D] a video to `files["video"]` and, where the encoder keeps tokens, [T, P, Dv] to `files["token"]`.

    `workers` decode JPEGs ahead of the model; 0: no processes of their own. A killed run is taken up. UserError, before
    any frame is encoded, when the disk has no room: for this shard or, with `whole_corpus`, for all `shards`.
    """
    with _uncompiled(encoder):
        probe = encoder.encode_frames(frames.probe())
    tails = {"video": tuple(probe.embeddings.shape[1:])}
    if probe.tokens is not None:
        tails["token"] = tuple(probe.tokens.shape[1:])

    def encoded(numbers: Sequence[int]) -> Encoded:
        return encoded_frames(frames, encoder, numbers, dtype, workers)

    plans = _plans(frames, files, tails, dict.fromkeys(tails, frames.lengths), dtype, encoder)
    _fill(frames, "frame", files, plans, encoded, shards, whole_corpus, processes)


def extract_captions(
    captions: CaptionBatches,
    encoder: Encoder,
    files: Mapping[Kind, Path],
    dtype: str,
    *,
    shards: int = 1,
    whole_corpus: bool = True,
    processes: Processes = ALONE,
) -> None:
    """Write [L, D] a caption to `files["text"]` ([1, D] with `text: sentence`), and [1, D] to `files["sentence"]`.

    Says how many captions are cut. A killed run is taken up. UserError as for `extract_videos`.
    """
    if captions.cut:
        print(
            f"cut: {captions.cut} of {captions.items} captions are longer than the {encoder.context_length} tokens"
            " that the text tower reads",
            flush=True,
        )
    with _uncompiled(encoder):
        probe = encoder.encode_captions(encoder.tokenize(["a"]))
    tails = {"text": tuple(probe.words.shape[1:]), "sentence": tuple(probe.sentences.shape[1:])}
    lengths = {"text": captions.lengths, "sentence": np.ones_like(captions.lengths)}

    def encoded(numbers: Sequence[int]) -> Encoded:
        return encoded_captions(captions, encoder, numbers, dtype)

    plans = _plans(captions, files, tails, lengths, dtype, encoder)
    _fill(captions, "caption", files, plans, encoded, shards, whole_corpus, processes)


def encoded_frames(
    frames: FrameBatches, encoder: Encoder, numbers: Sequence[int], dtype: str, workers: int = 0
) -> Encoded:
    """The batches with these numbers, encoded: "video" [size, D] and, where they are kept, "token" [size, P, Dv]."""

    def found() -> Iterator[tuple[int, dict[Kind, Tensor]]]:
        loader = DataLoader(
            frames,
            batch_size=None,  # an item is a batch
            sampler=numbers,
            num_workers=min(workers, len(numbers)),
            pin_memory=torch.cuda.is_available(),
        )
        for number, batch in zip(numbers, loader, strict=True):
            if isinstance(batch, UserError):
                raise batch
            result = encoder.encode_frames(batch)
            tokens = {} if result.tokens is None else {"token": result.tokens}
            yield number, {"video": result.embeddings, **tokens}

    return _fetched(found(), dtype)


def encoded_captions(
    captions: CaptionBatches, encoder: Encoder, numbers: Sequence[int], dtype: str
) -> Encoded:
    """The batches with these numbers, encoded: "text" [sum of lengths, D] and "sentence" [size, D]."""

    def found() -> Iterator[tuple[int, dict[Kind, Tensor]]]:
        for number in numbers:
            result = encoder.encode_captions(captions[number])
            yield number, {"text": result.words, "sentence": result.sentences}

    return _fetched(found(), dtype)


def _uncompiled(encoder: Encoder) -> AbstractContextManager:
    """For a forward pass of another size than the batches': compiled code is for theirs."""
    return torch.compiler.set_stance("force_eager") if encoder.config.compile else nullcontext()


def _fetched(found: Iterator[tuple[int, dict[Kind, Tensor]]], dtype: str) -> Encoded:
    """The values on the CPU, of each batch while a GPU computes the next one."""
    waiting: deque[tuple[int, dict[Kind, _Fetch]]] = deque()
    for number, tensors in found:
        waiting.append((number, {kind: _Fetch(tensor, dtype) for kind, tensor in tensors.items()}))
        if len(waiting) > 1:
            yield _arrays(*waiting.popleft())
    while waiting:
        yield _arrays(*waiting.popleft())


def _arrays(number: int, fetches: "dict[Kind, _Fetch]") -> tuple[int, dict[Kind, np.ndarray]]:
    return number, {kind: fetch.array() for kind, fetch in fetches.items()}


class _Fetch:
    """A tensor on its way to the CPU, in the number format of the shard."""

    def __init__(self, tensor: Tensor, dtype: str):
        self._tensor, stored = tensor, tensor.to(getattr(torch, dtype))
        self._copy, self._fits = (t.to("cpu", non_blocking=True) for t in (stored, stored.isfinite().all()))
        self._there = torch.cuda.current_stream(tensor.device).record_event() if tensor.is_cuda else None

    def array(self) -> np.ndarray:
        if self._there is not None:
            self._there.synchronize()
        # What does not fit is told by its own value, not by the infinity that became of it.
        return (self._copy if self._fits else self._tensor.float().cpu()).numpy()


def _plans(
    batches: FrameBatches | CaptionBatches,
    files: Mapping[Kind, Path],
    tails: Mapping[Kind, tuple[int, ...]],
    lengths: Mapping[Kind, np.ndarray],
    dtype: str,
    encoder: Encoder,
) -> dict[Kind, Plan]:
    """What each file will hold; nothing where the encoder keeps nothing of the kind."""
    nothing = Keys(np.empty(0, dtype=np.int64)), np.empty(0, dtype=np.int64)
    plans = {}
    for kind in files:
        keys, its_lengths = (batches.keys, lengths[kind]) if kind in tails else nothing
        number = np.dtype(dtype).newbyteorder("<")
        plans[kind] = Plan(keys, its_lengths, tails.get(kind, ()), number, encoder.identity, batches.source)
    return plans


def _fill(
    batches: Batches,
    unit: str,
    files: Mapping[Kind, Path],
    plans: Mapping[Kind, Plan],
    encoded: Callable[[Sequence[int]], Encoded],
    shards: int,
    whole_corpus: bool,
    processes: Processes,
) -> None:
    made = {kind: PlannedShard(file, plans[kind]) for kind, file in files.items()}
    if processes.first:
        require_space([need(kind, files[kind], plans[kind], shards) for kind in files], shards, whole_corpus)
        for shard in made.values():
            shard.prepare()
    processes.wait()
    with ExitStack() as stack:
        filled = {kind: stack.enter_context(shard) for kind, shard in made.items() if shard.plan.rows}
        missing = (batches.of_rows(kind, shard.missing()).tolist() for kind, shard in filled.items())
        missing = set().union(*missing)
        own = range(processes.rank, len(batches), processes.world)
        numbers = [batch for batch in own if batch in missing]
        progress = stack.enter_context(_progress(batches, own, numbers, unit)) if processes.first else None
        for batch, values in encoded(numbers):
            for kind, shard in filled.items():
                rows, which = batches.rows(kind, batch)
                shard.write(rows, values[kind][which])
            if progress is not None:
                progress.count(more=batches.count([batch]))
    processes.wait()
    if processes.first:
        for finish in (PlannedShard.seal, PlannedShard.publish, PlannedShard.forget):
            for shard in made.values():
                finish(shard)


def _progress(batches: Batches, own: Sequence[int], numbers: Sequence[int], unit: str) -> Progress:
    total = batches.count(own)
    done = total - batches.count(numbers)
    if done:
        print(f"{done} of {total} {unit}s are done already", flush=True)
    return Progress(total, done, unit)
