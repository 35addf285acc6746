"""Cheap signals that samplers choose frames by, from small pictures in the order in which they are shown.

Pictures are uint8 RGB [h, w, 3], all of one size, taken one after another: two are in memory at a time.
"""

from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

cv2.setNumThreads(1)  # decoding processes share the cores, not threads

BINS = 17  # along each axis of the HSV cone


def histogram_distances(images: Iterable[np.ndarray]) -> np.ndarray:
    """Bhattacharyya distances between the HSV histograms of neighbours, float [N-1], 0 (same colours) to 1."""
    histograms = map(histogram, images)
    return _between(histograms, lambda one, two: cv2.compareHist(one, two, cv2.HISTCMP_BHATTACHARYYA))


def motion(images: Iterable[np.ndarray], flow: str) -> np.ndarray:
    """Mean length of the optical flow between neighbours, in pixels of these pictures, float [N-1].

    `flow` is `dis` or `farneback`.
    """
    between = FLOWS[flow]()
    greys = (cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in images)
    return _between(greys, lambda one, two: np.linalg.norm(between(one, two), axis=2).mean())


def histogram(image: np.ndarray) -> np.ndarray:
    """Share of the pixels by colour in the HSV cone, float32 [BINS ** 3]; sums to 1.

    In the cone hue is the angle, saturation times value the radius and value the height. Hue alone is noise where
    a picture is grey or dark; there it hardly moves a pixel. A pixel counts for the bins around it by nearness, so
    that a flat picture does not jump from one bin to the next when it gets lighter by one level.
    """
    red, green, blue = np.moveaxis(image.astype(np.float64) / 255, -1, 0).reshape(3, -1)
    across = red - (green + blue) / 2  # -1 to 1
    along = (green - blue) * np.sqrt(3) / 2
    value = np.maximum(np.maximum(red, green), blue)
    place = np.stack([(across + 1) / 2, (along + 1) / 2, value]) * (BINS - 1)
    nearest = np.rint(place).astype(np.int64)
    past = place - nearest  # -0.5 to 0.5
    # On every axis a pixel counts for three bins, by a quadratic B-spline; the last bin takes what is beyond it.
    weights = np.stack([(0.5 - past) ** 2 / 2, 0.75 - past**2, (0.5 + past) ** 2 / 2], axis=1)
    bins = np.clip(np.stack([nearest - 1, nearest, nearest + 1], axis=1), 0, BINS - 1)
    (x, y, z), (x_share, y_share, z_share) = bins, weights
    cells = (x[:, None, None] * BINS + y[:, None]) * BINS + z  # [3, 3, 3, pixels]
    shares = x_share[:, None, None] * y_share[:, None] * z_share
    counts = np.bincount(cells.ravel(), shares.ravel(), BINS**3)
    return (counts / value.size).astype(np.float32)


def _dis() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
    return lambda one, two: flow.calc(one, two, None)


def _farneback() -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda one, two: cv2.calcOpticalFlowFarneback(
        one, two, None, pyr_scale=0.5, levels=3, winsize=15, iterations=3, poly_n=5, poly_sigma=1.2, flags=0
    )


FLOWS = {"dis": _dis, "farneback": _farneback}


def _between(items: Iterator[np.ndarray], measure: Callable[[np.ndarray, np.ndarray], float]) -> np.ndarray:
    """The measure of every item and the one before it."""
    found, before = [], None
    for item in items:
        if before is not None:
            found.append(measure(before, item))
        before = item
    return np.array(found, dtype=float)
