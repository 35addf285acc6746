"""The videos that are searched, as vectors; a video's score is the largest product of the query and one of its vectors."""

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.space import readable
from workflow_scripts.lib.retrieval.encode import Block, slices

IN_MEMORY = 2**31  # bytes of vectors in main memory; more of them are a file
ON_GPU = 0.5  # share of the GPU's free memory that vectors may take
VECTORS = {"cpu": 2048, "cuda": 2**15}  # that are multiplied at a time


@dataclass(frozen=True)
class Gallery:
    """Nv videos, in an order of the gallery's own."""

    order: np.ndarray
    """[Nv], position in the split of the k-th video here."""
    blocks: list[slice]
    """Videos that are multiplied together."""
    vectors: Callable[[slice], Tensor]
    """A block's vectors [b, m, D], float32 on the device; m may differ between blocks."""


def stored(encoded: Iterable[Block], videos: int, device: torch.device) -> Gallery:
    """A gallery of encoded videos, as many vectors of each; they are held while it is used."""
    order, store, done = np.empty(videos, dtype=np.int64), None, 0
    for positions, block in encoded:
        if store is None:
            store = room_for((videos, *block.shape[1:]), device)
        rows = slice(done, done + len(positions))
        order[rows], store[rows] = positions, block
        done = rows.stop
    blocks = slices(videos, max(1, VECTORS[device.type] // store.shape[1]))
    return Gallery(order, blocks, lambda rows: store[rows].to(device))


def room_for(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """An empty float32 tensor: on the device or in memory where it fits, else a file that goes with the tensor.

    UserError when the folder of temporary files has no room for it.
    """
    size = 4 * int(np.prod(shape, dtype=np.int64))
    if device.type == "cuda" and size <= ON_GPU * torch.cuda.mem_get_info(device)[0]:
        return torch.empty(shape, device=device)
    if size <= IN_MEMORY:
        return torch.empty(shape)
    print(f"vectors of {readable(size)} are kept in a file in {tempfile.gettempdir()}", flush=True)
    with tempfile.TemporaryFile() as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a map of a file with holes dies on a full disk
        except OSError as error:
            raise UserError(
                f"{tempfile.gettempdir()}: no room for {readable(size)} of encoded videos ({error.strerror}); make room,"
                " or set TMPDIR to a folder on a larger disk"
            ) from None
        return torch.from_numpy(np.memmap(file, np.float32, "r+", shape=shape))
