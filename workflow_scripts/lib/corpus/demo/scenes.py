"""What happens in a synthetic video: drawn from the seed and the video's index alone."""

import itertools
from dataclasses import dataclass

import numpy as np

from workflow_scripts.lib.corpus.demo.words import BACKGROUNDS, COLOURS, DIRECTIONS, SHAPES, captions
from workflow_scripts.lib.errors import UserError

COMBINATIONS = list(itertools.product(COLOURS, SHAPES, DIRECTIONS))
MOMENT_S = (2.2, 2.6)
GAP_S = (0.5, 0.9)
# Of every 15 videos in a row, so that a split is the same whatever the number of videos.
SPLIT_OF_15 = ("train", "train", "val", "train", "test") * 2 + ("train", "train", "train", "train", "test")


@dataclass(frozen=True)
class Moment:
    """One shape crossing the frame. Lengths are fractions of the frame's edge, times seconds of the video."""

    colour: str
    shape: str
    direction: str
    start_s: float
    end_s: float
    travel: float
    aside: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """One video: its background and its moments, in order."""

    background: str
    shade: tuple[int, int, int]
    contrast: int
    period: float
    moments: tuple[Moment, ...]
    duration_s: float


def scene(seed: int, video: int, moments: int) -> Scene:
    """The scene of a video; the combinations of colour, shape and direction differ inside it.

    UserError when there are not so many combinations.
    """
    if moments > len(COMBINATIONS):
        raise UserError(
            f"corpus.demo.moments: {moments} moments a video, but there are only {len(COMBINATIONS)} "
            "combinations of colour, shape and direction; give a smaller number"
        )
    random = np.random.default_rng([seed % 2**64, video])
    background = str(random.choice(list(BACKGROUNDS)))
    # A grey with a hint of a tint, neither black nor white: every shape colour stands out against it.
    shade = tuple(int(v) for v in random.integers(60, 170) + random.integers(-8, 9, size=3))
    contrast, period = int(random.integers(14, 24)), float(random.uniform(0.12, 0.2))
    time, happening = float(random.uniform(*GAP_S)), []
    for choice in random.choice(len(COMBINATIONS), size=moments, replace=False):
        length = float(random.uniform(*MOMENT_S))
        happening.append(
            Moment(
                *COMBINATIONS[choice],
                start_s=round(time, 3),
                end_s=round(time + length, 3),
                travel=float(random.uniform(0.45, 0.5)),
                aside=float(random.uniform(-0.1, 0.1)),
                radius=float(random.uniform(0.22, 0.26)),
            )
        )
        time += length + float(random.uniform(*GAP_S))
    return Scene(background, shade, contrast, period, tuple(happening), time)


def annotation(scene: Scene, video: int, path: str) -> dict:
    """The annotation of a video, as the jsonl adapter reads it."""
    return {
        "video": path,
        "split": SPLIT_OF_15[video % 15],
        "captions": [
            {**caption, "start_s": moment.start_s, "end_s": moment.end_s}
            for moment in scene.moments
            for caption in captions(moment.colour, moment.shape, moment.direction, scene.background)
        ],
    }
