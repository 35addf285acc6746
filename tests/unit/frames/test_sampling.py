"""Samplers as functions: properties that hold of random videos, and what sets each sampler apart."""

import numpy as np
import pytest

from workflow_scripts.lib.frames.sampling import (
    at_keyframes,
    at_rate,
    at_scene_changes,
    by_motion,
    signal_positions,
    spread,
    uniform,
    with_moments,
)

REGULAR = np.arange(200) / 25  # 8 s at 25 frames a second
END = 8.0


def random_clip(random):
    """Times, end and a clip: constant or variable rate, the clip anywhere, also beside what is shown."""
    steps = random.choice(
        [[0.04], [0.04, 0.04, 0.5, 0.001], [1 / 30, 3.0]][random.integers(3)], random.integers(1, 80)
    )
    times = np.cumsum(steps) - steps[0] + random.choice([0, 0.08])
    end = times[-1] + 0.04
    start = random.choice([0.0, random.uniform(-0.1, end * 1.1)])
    stop = random.choice([np.inf, start + random.exponential(end) + 1e-3, start + 1e-3])
    return times, end, start, stop


def frames_of(times, end, start, stop):
    """Positions of the clip's frames, by the rule as it is told."""
    begins, ends = max(start, times[0]), min(stop, end)
    if begins >= ends:
        return []
    inside = [i for i, time in enumerate(times) if begins <= time < ends]
    return inside or [max(i for i, time in enumerate(times) if time <= begins)]


@pytest.fixture(params=range(10))
def clips(request):
    random = np.random.default_rng(request.param)
    return random, [(random_clip(random), int(random.integers(1, 40))) for _ in range(50)]


def check(got, clip, count, exact):
    """Sorted, distinct, of the clip, at most `count`; exactly so many, or all, where that is promised."""
    frames = frames_of(*clip)
    assert got == sorted(set(got))
    assert all(type(position) is int for position in got)  # they end in JSON
    assert set(got) <= set(frames)
    assert min(1, len(frames)) <= len(got) <= count
    if exact:
        assert len(got) == min(count, len(frames))


def test_uniform(clips):
    for clip, count in clips[1]:
        check(uniform(*clip, count), clip, count, exact=True)


def test_at_rate(clips):
    random, made = clips
    for clip, count in made:
        check(at_rate(*clip, count, float(random.choice([0.01, 0.7, 2, 25, 1000]))), clip, count, exact=False)


def test_at_keyframes(clips):
    random, made = clips
    for clip, count in made:
        keys = np.flatnonzero(random.random(len(clip[0])) < random.choice([0, 0.1, 1]))
        check(at_keyframes(*clip, count, keys), clip, count, exact=False)


def test_signal_positions(clips):
    random, made = clips
    for clip, _ in made:
        fps = float(random.choice([0.3, 8, 1000]))
        got = signal_positions(*clip, fps).tolist()
        frames = frames_of(*clip)
        assert got == sorted(set(got))
        assert set(got) <= set(frames)
        assert got[:1] == frames[:1]
        if frames:
            times = clip[0][frames]
            assert len(got) <= (times[-1] - times[0]) * fps + 1 + 1e-6


def test_at_scene_changes(clips):
    random, made = clips
    for clip, count in made:
        positions = signal_positions(*clip, float(random.choice([2, 8, 50])))
        distances = random.random(max(0, len(positions) - 1))
        threshold = float(random.choice([0, 0.35, 0.9, 1]))
        got = at_scene_changes(*clip, count, positions, distances, threshold)
        check(got, clip, count, exact=True)
        cuts = set(positions[1:][distances >= threshold].tolist())
        assert set(got) <= cuts if len(cuts) >= count else cuts <= set(got)


def test_by_motion(clips):
    random, made = clips
    for clip, count in made:
        positions = signal_positions(*clip, float(random.choice([2, 8, 50])))
        moving = random.random(max(0, len(positions) - 1)) < random.choice([0, 0.05, 1])
        got = by_motion(*clip, count, positions, moving * random.exponential(5, len(moving)))
        check(got, clip, count, exact=True)
        if not moving.any():
            assert got == uniform(*clip, count)


def test_with_moments(clips):
    random, made = clips
    for clip, count in made:
        start = clip[2]
        frames = frames_of(*clip)
        ends = [sorted(random.uniform(-1, 6, 2).tolist()) for _ in range(3)]
        moments = [tuple(ends[0]), (None, ends[1][1]), (ends[2][0], None), (500.0, 501.0), (-9.0, -8.0)]
        chosen = uniform(*clip, 5)
        got = with_moments(chosen, *clip, moments, count)
        assert got == sorted(set(got))
        assert set(chosen) <= set(got) <= set(frames)
        for first, last in moments[:3]:
            begins = start if first is None else max(start, start + first)
            stops = clip[3] if last is None else min(clip[3], start + last)
            inside = [i for i in frames_of(*clip[:2], begins, stops) if i in frames]
            assert len(set(inside) & set(got)) >= min(count, len(inside))


def test_spread():
    assert spread(np.arange(10), 3).tolist() == [1, 5, 8]
    assert spread(np.arange(3), 3).tolist() == [0, 1, 2]
    assert spread(np.arange(3), 7).tolist() == [0, 1, 2]
    assert spread(np.arange(3), 0).tolist() == []


def test_uniform_takes_the_centres_and_makes_up_for_a_long_frame():
    assert uniform(REGULAR, END, 0, np.inf, 4) == [25, 75, 125, 175]
    held = np.concatenate([np.arange(10) / 25, 10 + np.arange(10) / 25])  # frame 9 is shown for nearly 10 s
    got = uniform(held, 10.4, 0, np.inf, 8)
    assert 9 in got
    assert len(got) == 8
    assert min(got) < 5
    assert max(got) > 14


@pytest.mark.parametrize("jitter", [0.0, 1e-12, -1e-12])
def test_rate_is_kept_whatever_the_last_bit_of_a_time_is(jitter):
    times = REGULAR + jitter * (np.arange(200) % 3)
    assert np.diff(at_rate(times, END, 0, np.inf, 999, 5)).tolist() == [5] * 39
    # Centres fall on the begins of frames: 0.04, 0.12, ...
    assert at_rate(times, END, 0, np.inf, 999, 12.5) == list(range(1, 200, 2))
    assert at_rate(times, END, 0, np.inf, 999, 25) == list(range(200))
    assert at_rate(times, END, 0, np.inf, 999, 1e6) == list(range(200))


def test_rate_begins_with_the_clip_and_is_thinned_to_the_count():
    assert at_rate(REGULAR, END, 2.0, 5.0, 10, 1) == [62, 87, 112]
    assert at_rate(REGULAR, END, 2.0, 5.0, 1, 1) == [87]
    assert at_rate(REGULAR, END, 2.0, 2.4, 10, 1) == [55]  # shorter than half a second: its middle
    assert at_rate(REGULAR, END, 9.0, 10.0, 10, 1) == []


def test_keyframes_of_the_clip_only():
    keys = np.arange(0, 200, 20)
    assert at_keyframes(REGULAR, END, 0, np.inf, 99, keys) == keys.tolist()
    assert at_keyframes(REGULAR, END, 1.0, 4.0, 99, keys) == [40, 60, 80]
    assert at_keyframes(REGULAR, END, 0, np.inf, 5, keys) == [20, 60, 100, 140, 180]
    assert at_keyframes(REGULAR, END, 1.0, 1.4, 5, keys) == uniform(REGULAR, END, 1.0, 1.4, 1)


def test_signal_positions_follow_time_not_number():
    assert signal_positions(REGULAR, END, 1.0, 2.0, 5).tolist() == [25, 30, 35, 40, 45]
    variable = np.array([0, 0.01, 0.02, 1.0, 1.01, 5.0])
    assert signal_positions(variable, 5.1, 0, np.inf, 1).tolist() == [0, 3, 5]


def test_cuts_stand_for_the_uniform_frames_nearest_to_them():
    positions = np.arange(0, 200, 5)
    distances = np.zeros(39)
    distances[[15, 16]] = 0.5  # from 75 to 80, and from 80 to 85
    # Uniform alone: 25, 75, 125, 175.
    assert at_scene_changes(REGULAR, END, 0, np.inf, 4, positions, distances, 0.5) == [25, 80, 85, 175]
    assert at_scene_changes(REGULAR, END, 0, np.inf, 4, positions, distances, 0.51) == [25, 75, 125, 175]
    distances[:] = 1
    got = at_scene_changes(REGULAR, END, 0, np.inf, 3, positions, distances, 0.5)
    assert got == [35, 100, 165]  # evenly among the 39 frames behind cuts


def test_motion_attracts_frames_and_stillness_keeps_some():
    positions = np.arange(0, 200, 5)
    motion = np.where(positions[:-1] < 100, 0.0, 2.0)
    got = np.array(by_motion(REGULAR, END, 0, np.inf, 32, positions, motion))
    assert (got < 100).sum() == pytest.approx(8, abs=1)  # a quarter: half of what uniform gives that half
    assert len(got) == 32
    doubled = by_motion(REGULAR, END, 0, np.inf, 32, positions, 2 * motion)
    assert doubled == got.tolist()  # what counts is where, not how much


def test_even_motion_is_uniform():
    positions = signal_positions(REGULAR, END, 0, np.inf, 8)
    motion = np.diff(REGULAR[positions]) * 3.0  # steps of three and of four frames
    assert len(set(np.diff(positions))) == 2
    assert by_motion(REGULAR, END, 0, np.inf, 8, positions, motion) == uniform(REGULAR, END, 0, np.inf, 8)


def test_flow_across_a_cut_attracts_nothing():
    positions = np.arange(0, 200, 5)
    motion = np.zeros(39)
    motion[20] = 50.0
    assert by_motion(REGULAR, END, 0, np.inf, 8, positions, motion) == uniform(REGULAR, END, 0, np.inf, 8)


def test_moments_are_counted_from_the_clip_and_stay_in_it():
    # The clip is 2 to 6 s of the file.
    got = with_moments([100], REGULAR, END, 2.0, 6.0, [(1.0, 2.0), (3.6, 9.0)], 2)
    assert got == [*uniform(REGULAR, END, 3.0, 4.0, 2), 100, *uniform(REGULAR, END, 5.6, 6.0, 2)]
    assert with_moments([100], REGULAR, END, 2.0, 6.0, [(1.0, 2.0)], 0) == [100]
    # A moment that ends before the clip's first frame begins shows one of before: the clip's first stands for it.
    assert with_moments([100], REGULAR, END, 2.01, 6.0, [(0.0, 0.005)], 2) == [51, 100]
