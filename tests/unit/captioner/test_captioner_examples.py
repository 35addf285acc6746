"""Captions as columns: the frames of their moments, and which of them are of one moment."""

import pickle

import numpy as np
import pytest

from tests.unit.captioner.tiny import captions_of
from workflow_scripts.lib.captioner.examples import frames_of_moments
from workflow_scripts.lib.frames.moments import frames_in_moment, positions_in_moment


def test_frames_of_many_moments_are_those_of_each(tiny):
    random = np.random.default_rng(0)
    times, starts, ends, expected = [], [], [], []
    for _ in range(300):
        length = random.integers(1, 9)
        own = np.sort(random.random(length)) * 10
        start, end = np.sort(random.random(2) * 12)
        start, end = (np.nan if random.random() < 0.2 else value for value in (start, end))
        times.append(np.pad(own, (0, 9 - length), constant_values=np.inf))
        starts.append(start)
        ends.append(end)
        expected.append(
            positions_in_moment(own, *(None if np.isnan(value) else value for value in (start, end)))
        )
    first, number = frames_of_moments(np.array(times), np.array(starts), np.array(ends))
    for one, several, positions in zip(first, number, expected, strict=True):
        assert list(range(one, one + several)) == positions.tolist()


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_an_example_has_at_most_so_many_frames(tiny, count):
    examples = tiny.split("train").examples.with_count(count)
    frames = tuple(frames_in_moment(range(6), 1.0, 4.0, count))
    assert {example.frames for example in examples} == {frames}
    assert examples.frame_counts().tolist() == [len(frames)] * len(examples)


def test_examples_are_the_captions_in_order(tiny):
    examples = tiny.split("test").examples
    expected = [caption for video in (15, 16, 17) for caption in captions_of(video)]
    assert [(one.language, one.text, one.attributes) for one in examples] == expected
    assert examples[-1] == examples[len(examples) - 1] == list(examples)[-1]
    assert [one.key for one in examples.take(np.array([4, 0]))] == ["vid_16#cap_1", "vid_15#cap_0"]
    assert list(pickle.loads(pickle.dumps(examples))) == list(examples)  # workers get a copy
    with pytest.raises(IndexError):
        examples[len(examples)]


def test_captions_of_a_moment_in_a_language_have_one_number(tiny):
    examples = tiny.split("train").examples
    twice = examples.take(np.concatenate([np.arange(len(examples)), np.arange(len(examples))[::-1]]))
    numbers = twice.moments()
    for number, one in zip(numbers, twice, strict=True):
        for other_number, other in zip(numbers, twice, strict=True):
            assert (number == other_number) == (one.moment == other.moment)
