"""The original GMMFormer's way of reading its BigFile, against ours over the same file and over shards made of it."""

from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.features_data import bigfile_folder
from benchmarks.turns import in_turns, speed
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.keys import video_key

ORIGINAL, OURS, CONVERTED = "the original's way", "ours, BigFile", "ours, shards"
FLOAT32 = 4  # bytes


class OriginalWay:
    """Reads a BigFile as the original does: the file is opened for every frame, its numbers become Python floats, and
    the lists of a video's frames become one array.

    Written after a description; the original makes the array of a video twice, this does it once.
    """

    def __init__(self, folder: Path):
        rows, self._width = map(int, (folder / "shape.txt").read_text().split())
        names = (folder / "id.txt").read_text(encoding="iso-8859-1").split()
        self._row_of = dict(zip(names, range(rows), strict=True))
        self._frames_of = eval((folder / "video2frames.txt").read_text())  # a dict that this benchmark wrote
        self._file = folder / "feature.bin"

    def __getitem__(self, video: str) -> np.ndarray:
        return np.array(self.rows(video))

    def rows(self, video: str) -> list[list[float]]:
        """The frames of a video as lists, which the original makes an array of for each thing that it does with them."""
        return [self._frame(name) for name in self._frames_of[video]]

    def _frame(self, name: str) -> list[float]:
        numbers = array("f")
        with self._file.open("rb") as file:
            file.seek(self._row_of[name] * self._width * FLOAT32)
            numbers.fromfile(file, self._width)
        return numbers.tolist()


def bigfile(cache: Path, width: int, videos: int, shuffled: bool, rounds: int) -> dict:
    """Videos a second by each way, in any order, each video in memory of its own.

    A turn of ours reads them all, one of the original's way a tenth.
    """
    folder = bigfile_folder(cache, width, videos, shuffled)
    original = OriginalWay(folder / "bigfile")
    ours, converted = (open_features(folder / name, "video") for name in ("bigfile", "ours"))
    ways: dict[str, Callable[[str], np.ndarray]] = {
        ORIGINAL: original.__getitem__,
        OURS: lambda key: np.array(ours[key]),
        CONVERTED: lambda key: np.array(converted[key]),
    }
    _check_that_all_agree(ways, videos)
    turns = {
        name: partial(next, _turns(way, videos, videos // 10 if name == ORIGINAL else videos))
        for name, way in ways.items()
    }
    in_turns(turns, 1)  # page cache and page tables
    costs = in_turns(turns, rounds)
    return {
        "width": width,
        "videos": videos,
        "rows": "anywhere" if shuffled else "together",
        "contestants": {name: cost.facts() for name, cost in costs.items()},
        "ratios": [
            {"faster": name, "than": ORIGINAL, "times": speed(costs, name, ORIGINAL, "cpu_s")}
            for name in (OURS, CONVERTED)
        ],
    }


def _turns(way: Callable[[str], np.ndarray], videos: int, a_turn: int) -> Iterator[int]:
    rng = np.random.default_rng(5)
    while True:
        for video in rng.permutation(videos)[:a_turn].tolist():
            way(video_key(video))
        yield a_turn


def _check_that_all_agree(ways: dict[str, Callable[[str], np.ndarray]], videos: int) -> None:
    for video in (0, videos - 1):
        for name, way in ways.items():
            if not np.array_equal(way(video_key(video)), ways[ORIGINAL](video_key(video))):
                raise RuntimeError(f"{name} reads other values than {ORIGINAL}")
