"""Batches read ahead of the training, by processes of their own."""

import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.datasets import CaptionedVideos
from workflow_scripts.lib.retrieval.data import Batch, QueryPart, VideoPart, make_batch
from workflow_scripts.lib.retrieval.model import GMMFormerConfig
from workflow_scripts.lib.retrieval.sampler import ShardEpochBatches

# Of what PyTorch says when a worker is gone, or has no room to hand a batch over.
NO_ROOM = ("exited unexpectedly", "is killed by signal", "shared memory", "shm")


def make_loader(
    dataset: CaptionedVideos,
    batches: ShardEpochBatches,
    model_config: GMMFormerConfig,
    config: RetrievalConfig,
    device: torch.device,
    workers: int,
    prefetch: int,
) -> "BatchLoader":
    """A loader of the steps of `batches`: one pass over it is all that is left of the training, over its epochs.

    So the workers read into the next epoch while an epoch is validated, each `prefetch` batches ahead: so much memory
    they take, in /dev/shm. With 0 workers, a batch is read when it is asked for.
    """
    context = None
    if workers:
        # Not forked from this process, which has threads, locks and maybe a GPU; each maps the files anew.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
    return BatchLoader(
        _Reader(dataset, model_config, config.parts),
        batch_size=None,  # an item is a batch
        sampler=batches,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=prefetch if workers else None,
        pin_memory=device.type == "cuda",
        multiprocessing_context=context,
        worker_init_fn=_belong_to_the_training,
        generator=torch.Generator(),  # its own: the training's random numbers do not depend on it
    )


class BatchLoader(DataLoader[Batch]):
    """Batches on the CPU, pinned for a GPU.

    What goes wrong in a worker is raised here as it is; a UserError says that one has died.
    """

    def __iter__(self) -> Iterator[Batch]:
        return self._batches(super().__iter__())  # the workers begin now

    def _batches(self, found: Iterator) -> Iterator[Batch]:
        while True:
            try:
                batch = next(found)
            except StopIteration:
                return
            except RuntimeError as error:
                if any(words in str(error) for words in NO_ROOM):
                    raise self._no_room(error) from error
                raise
            if isinstance(batch, Exception):
                raise batch
            yield batch.unpacked() if isinstance(batch, Packed) else batch

    def _no_room(self, error: RuntimeError) -> UserError:
        return UserError(
            f"retrieval: a process that reads batches has ended ({str(error).splitlines()[0].rstrip(' .')}): most often"
            f" memory, or /dev/shm, is too small for {self.num_workers} `workers` with {self.prefetch_factor} batches"
            " each; set `workers` or `prefetch` lower and start again: it goes on from the last checkpoint"
        )


class Waiting(Iterator[Batch]):
    """The same batches, and the `seconds` that were spent waiting for them."""

    def __init__(self, batches: Iterable[Batch]):
        self._batches = iter(batches)
        self.seconds = 0.0

    def __next__(self) -> Batch:
        began = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - began


class Packed(NamedTuple):
    """A batch in one piece of memory: from process to process, a piece costs a file descriptor and a connection."""

    memory: Tensor
    """uint8"""
    shapes: list[tuple[int, ...]]
    """Of `video_places`, `query_places`, `owner`, and of all tensors of the parts."""
    video_parts: int

    @classmethod
    def of(cls, batch: Batch) -> "Packed":
        parts = [tensor for part in (*batch.videos, *batch.queries) for tensor in part]
        tensors = [*batch[2:], *parts]  # those of 8 bytes a number first, so that all are aligned
        memory = _shared_memory(sum(tensor.nbytes for tensor in tensors))
        for piece, tensor in zip(memory.split([tensor.nbytes for tensor in tensors]), tensors, strict=True):
            piece.view(tensor.dtype).copy_(tensor.flatten())
        return cls(memory, [tuple(tensor.shape) for tensor in tensors], len(batch.videos))

    def pin_memory(self) -> "Packed":
        """Called by PyTorch."""
        return self._replace(memory=self.memory.pin_memory())

    def unpacked(self) -> Batch:
        """Views of the memory."""
        dtypes = [torch.int64] * 3 + [torch.float32] * (len(self.shapes) - 3)
        sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in zip(self.shapes, dtypes, strict=True)]
        pieces = zip(self.memory.split(sizes), dtypes, self.shapes, strict=True)
        tensors = [piece.view(dtype).view(shape) for piece, dtype, shape in pieces]
        integers, parts = tensors[:3], iter(tensors[3:])
        videos = [VideoPart(*islice(parts, 3)) for _ in range(self.video_parts)]
        queries = [QueryPart(tokens, mask) for tokens, mask in zip(parts, parts, strict=True)]
        return Batch(videos, queries, *integers)


class _Reader(Dataset[Batch]):
    """Item: the batch of these positions, packed in a worker; or the error that came up, for PyTorch would hand on
    its traceback in the place of its message."""

    def __init__(self, dataset: CaptionedVideos, config: GMMFormerConfig, parts: int):
        self.dataset, self.config, self.parts = dataset, config, parts

    def __getitem__(self, positions: list[int]) -> Batch | Packed | UserError | OSError:
        try:
            batch = make_batch(self.dataset.__getitems__(positions), self.config, self.parts)
        except (UserError, OSError) as error:
            return error
        return Packed.of(batch) if get_worker_info() else batch


def _shared_memory(size: int) -> Tensor:
    """uint8 [size] in memory that processes share, as `default_collate` takes it: a tensor would be copied there."""
    return torch.empty(0, dtype=torch.uint8).set_(torch.UntypedStorage._new_shared(max(1, size)))[:size]


def _as_it_is(batch: object) -> object:
    return batch


def _belong_to_the_training(_: int) -> None:
    """A worker ends with the training, however that ends, and not before: Ctrl-C goes to all processes of a terminal."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_the_training, daemon=True).start()


def _end_with_the_training() -> None:
    """PyTorch's workers look at their parent, which is the fork server; and that one waits for its children."""
    multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
