"""How far stored frames are from the right ones, by looking at the pictures, not at what a decoder claims."""

import io
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from PIL import Image

from benchmarks.clips import MadeClip
from benchmarks.readers import SIZE, centres, jpeg, shrunk

NEAR = 8  # frames on either side among which the one that was really stored is looked for


def frame_errors(clip: MadeClip, stored: dict[str, Path]) -> dict[str, dict]:
    """For each reader's folder of JPEGs, against a plain decoding of the whole clip.

    `frames`: how many were stored. `mean_abs_difference` (0 to 255) from the frames asked for, and `frames_off`, the
    largest distance of a stored frame from the one asked for (`NEAR` stands for that and more); both null unless as
    many came as were asked for. The difference is from the right frame stored as JPEG likewise, so that JPEG's own
    loss is no part of it.
    """
    pictures = {
        reader: [np.asarray(Image.open(path)) for path in _jpegs(folder)] for reader, folder in stored.items()
    }
    count = max(len(found) for found in pictures.values())
    exact = list(_all_frames(clip.path))
    wanted = centres(len(exact), count)
    return {
        reader: _compare(found, exact, wanted) if len(found) == count else _none(found)
        for reader, found in pictures.items()
    }


def _compare(found: list[np.ndarray], exact: list[np.ndarray], wanted: list[int]) -> dict:
    stored_right = {position: _stored(exact[position]) for position in wanted}
    differences, off = [], []
    for picture, position in zip(found, wanted, strict=True):
        first = max(0, position - NEAR)
        near = [_difference(picture, other) for other in exact[first : position + NEAR + 1]]
        off.append(abs(first + int(np.argmin(near)) - position))
        differences.append(_difference(picture, stored_right[position]))
    return {
        "frames": len(found),
        "mean_abs_difference": round(float(np.mean(differences)), 3),
        "frames_off": max(off),
    }


def _none(found: list) -> dict:
    return {"frames": len(found), "mean_abs_difference": None, "frames_off": None}


def _difference(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(np.int16) - other).mean())


def _jpegs(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def _all_frames(path: Path) -> Iterator[np.ndarray]:
    """Every frame at the stored size, uint8 [height, width, 3], in the order of showing."""
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield np.asarray(shrunk(Image.fromarray(frame.to_ndarray(format="rgb24")), SIZE))


def _stored(picture: np.ndarray) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg(Image.fromarray(picture)))))
