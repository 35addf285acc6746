"""Signals on pictures made for it: what they must see, and what they must not."""

import weakref

import numpy as np
import pytest

from workflow_scripts.lib.frames.choose import COLOUR_SIZE, MOTION_SIZE, THRESHOLD
from workflow_scripts.lib.frames.signals import histogram, histogram_distances, motion


def flat(*colour):
    return np.full((*COLOUR_SIZE, 3), colour, dtype=np.uint8)


def noisy(random, picture, level=6):
    return np.clip(picture + random.normal(0, level, picture.shape), 0, 255).astype(np.uint8)


def scene(random, shift):
    """One scene's pictures: a texture of its colours that moves `shift` pixels a frame, with noise."""
    colours = random.integers(0, 256, (3, 3))
    texture = colours[random.integers(0, 3, (12, 12))].repeat(4, axis=0).repeat(4, axis=1)
    for number in range(8):
        yield noisy(random, np.roll(texture, shift * number, axis=1))


@pytest.mark.parametrize("seed", range(8))
def test_cuts_and_only_cuts_are_above_the_threshold(seed):
    random = np.random.default_rng(seed)
    pictures = [picture for shift in (0, 1, 5, 0, 3) for picture in scene(random, shift)]
    distances = histogram_distances(iter(pictures))
    assert distances.shape == (39,)
    assert np.flatnonzero(distances >= THRESHOLD).tolist() == [7, 15, 23, 31]


def test_histogram_is_a_distribution():
    random = np.random.default_rng(0)
    corners = [flat(*(255 * (n >> bit & 1) for bit in range(3))) for n in range(8)]
    for picture in (*corners, random.integers(0, 256, (5, 7, 3), dtype=np.uint8)):
        shares = histogram(picture)
        assert shares.min() >= 0
        assert shares.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (255, 0, 0), (17, 80, 200)])
def test_flat_pictures_have_a_distance_of_zero(colour):
    assert histogram_distances([flat(*colour)] * 3) == pytest.approx([0, 0], abs=1e-3)


@pytest.mark.parametrize("level", range(0, 252, 3))
def test_a_flat_picture_that_flickers_is_no_cut(level):
    pictures = [
        flat(level, level, level),
        flat(level + 3, level + 3, level + 3),
        flat(level + 3, level, level + 2),
    ]
    assert histogram_distances(pictures).max() < THRESHOLD / 1.5


@pytest.mark.parametrize("grey", [0, 10, 40, 128, 220])
def test_hue_of_grey_and_dark_pictures_does_not_count(grey):
    random = np.random.default_rng(grey)
    pictures = [noisy(random, np.full((*COLOUR_SIZE, 3), grey), 3) for _ in range(5)]
    reddish, bluish = flat(grey + 3, grey, grey), flat(grey, grey, grey + 3)
    assert histogram_distances(pictures).max() < THRESHOLD / 2
    assert histogram_distances([reddish, bluish]).max() < THRESHOLD


def test_colours_of_one_brightness_differ():
    assert histogram_distances([flat(200, 60, 60), flat(60, 60, 200)])[0] > 0.9
    assert histogram_distances([flat(128, 128, 128), flat(128, 40, 40)])[0] > 0.9


def test_brightness_of_one_colour_differs():
    assert histogram_distances([flat(60, 60, 60), flat(180, 180, 180)])[0] > 0.9


def moving(random, steps):
    """A texture that has moved by so many pixels at every picture."""
    texture = random.integers(0, 256, (MOTION_SIZE[0] // 4, MOTION_SIZE[1] // 4, 3)).astype(np.uint8)
    texture = texture.repeat(4, axis=0).repeat(4, axis=1)
    return [np.roll(texture, step, axis=1) for step in steps]


@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_motion_grows_with_what_moves(flow):
    random = np.random.default_rng(0)
    still, slow, fast = (motion(iter(moving(random, np.arange(6) * step)), flow).mean() for step in (0, 1, 3))
    assert still < 1e-2
    assert slow == pytest.approx(1, rel=0.4)
    assert fast == pytest.approx(3, rel=0.4)


@pytest.mark.parametrize("flow", ["dis", "farneback"])
def test_motion_of_black_pictures_is_none(flow):
    got = motion([np.zeros((*MOTION_SIZE, 3), np.uint8)] * 3, flow)
    assert got == pytest.approx([0, 0], abs=1e-6)


@pytest.mark.parametrize("signal", [histogram_distances, lambda images: motion(images, "dis")])
def test_fewer_than_two_pictures_have_no_neighbours(signal):
    assert signal([]).shape == signal([np.zeros((64, 64, 3), np.uint8)]).shape == (0,)


@pytest.mark.parametrize("signal", [histogram_distances, lambda images: motion(images, "dis")])
def test_pictures_are_taken_one_by_one(signal):
    made = []

    def pictures():
        for number in range(20):
            assert sum(picture() is not None for picture in made) <= 2
            picture = np.full((64, 64, 3), number, np.uint8)
            made.append(weakref.ref(picture))
            yield picture

    assert len(signal(pictures())) == 19
