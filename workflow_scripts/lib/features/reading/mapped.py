"""One HDF5 file of features, mapped into memory."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import NOT_ASKED, memory_map, read_index


def refuse_not_finite(file: Path, key: str, array: np.ndarray) -> None:
    """UserError names a key with NaN or infinite values; our writers refuse them, so only others' files are asked."""
    if not np.isfinite(array).all():
        raise UserError(f"{file}: key {key} has NaN or infinite values; make its features again")


class MappedShard:
    """`keys`, and `array(row)` of each, which cannot be written to.

    Datasets that lie in one piece are views of the file. Chunked ones, as other writers make them, are read by
    `open_hdf5`, which may keep files open.
    """

    def __init__(self, file: Path, open_hdf5: Callable[[Path], h5py.File]):
        index = read_index(file, lazily=True)
        self.file, self.keys, self.tail, self.dtype = file, index.keys, index.tail, index.dtype
        self.encoder, self.digest = index.encoder, index.digest
        self._index, self._lengths = index, index.lengths
        # what others wrote is looked at every time
        self._offsets = np.broadcast_to(NOT_ASKED, len(index)) if self.digest is None else index.offsets
        self._bytes = memoryview(memory_map(file))  # quicker than the Arrow buffer
        self._open = open_hdf5

    def array(self, row: int) -> np.ndarray:
        """[rows, *tail] of a row of `keys`; UserError names a key that is unlike the others, or cannot be read."""
        offset = self._offsets.item(row)
        if offset < 0:
            return self._checked(row)
        return np.ndarray((self._lengths.item(row), *self.tail), self.dtype, self._bytes, offset)

    def _checked(self, row: int) -> np.ndarray:
        """Of a dataset that is empty or chunked, or of another writer."""
        index, key = self._index, self.keys.key(row)
        try:
            if index.offsets.item(row) == NOT_ASKED:
                index.ask(self.file, self._open(self.file), row)
            offset, length = index.offsets.item(row), index.lengths.item(row)
            if offset < 0:
                array = np.empty((length, *self.tail), self.dtype)
                if array.size:
                    self._open(self.file)[key].read_direct(array)
                array.flags.writeable = False
            elif offset + length * index.row_bytes <= self._bytes.nbytes:
                array = np.ndarray((length, *self.tail), self.dtype, self._bytes, offset)
            else:
                raise UserError(
                    f"{self.file}: truncated: key {key} lies behind its end; get or make it again"
                )
        except (OSError, RuntimeError, KeyError, ValueError) as error:  # h5py's errors are of these kinds
            raise UserError(
                f"{self.file}: key {key} cannot be read ({error}); get or make it again"
            ) from None
        refuse_not_finite(self.file, key, array)
        return array
