"""Comparing stored features with what an encoder gives: rounding passes, swapped items are told with their owners."""

import numpy as np
import pytest

from tests.unit.features.test_verify import Found, write
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import shard_path
from workflow_scripts.lib.features.verify.compare import Comparison
from workflow_scripts.lib.features.verify.structure import open_all

VIDEOS, WIDTH, TOLERANCE = 20, 64, 0.01


def features(alike: float = 0.0) -> list[np.ndarray]:
    """Frames of videos of 2 or 3 frames; `alike`: how much of them is the same for all."""
    rng = np.random.default_rng(0)
    common = rng.standard_normal((1, WIDTH))
    return [alike * common + (1 - alike) * rng.standard_normal((2 + i % 2, WIDTH)) for i in range(VIDEOS)]


def compare(tmp_path, true, stored_of=None, rows=range(VIDEOS), noise=0.0):
    """Store `true` with items in other places, and compare rows with what a noisy encoder gives of them."""
    stored_of, rng = stored_of or {}, np.random.default_rng(1)
    arrays = {f"vid_{i}": true[stored_of.get(i, i)] for i in range(VIDEOS)}
    write(shard_path(tmp_path, "video", 0), arrays)
    found = Found()
    opened = open_all(tmp_path, found)

    def encode(shard, rows):
        for row in rows:
            new = true[row] * (1 + noise * rng.standard_normal(true[row].shape))
            yield {"video": new.astype(np.float16)}

    comparison = Comparison(opened, "video", encode, TOLERANCE, found)
    comparison.shard(opened.shards["video"][0], list(rows))
    comparison.tell()
    return {problem.key: problem.found for problem in found.problems}, comparison


@pytest.mark.parametrize("alike", [0.0, 0.999, 1.0])
@pytest.mark.parametrize("noise", [0.0, 1e-3, 5e-3])
def test_rounding_passes_however_much_alike_features_are(tmp_path, alike, noise):
    found, comparison = compare(tmp_path, features(alike), noise=noise)
    assert found == {}
    assert comparison.items == VIDEOS and comparison.cosine > 0.999


def test_items_that_are_the_same_are_not_called_swapped(tmp_path):
    """The same caption of two videos: some come out as they are stored, bit for bit, and others do not."""
    true = [np.ones((2, WIDTH)) * (1 + i % 2) for i in range(VIDEOS)]
    rng, found = np.random.default_rng(0), Found()
    write(shard_path(tmp_path, "video", 0), {f"vid_{i}": array for i, array in enumerate(true)})
    opened = open_all(tmp_path, found)
    encode = lambda _, rows: ({"video": true[row] * (1 + 1e-3 * rng.integers(2))} for row in rows)  # noqa: E731
    comparison = Comparison(opened, "video", encode, TOLERANCE, found)
    comparison.shard(opened.shards["video"][0], list(range(VIDEOS)))
    comparison.tell()
    assert found.problems == []


@pytest.mark.parametrize("alike, noise", [(0.0, 0.0), (0.0, 3e-3), (0.99, 0.0), (0.99, 1e-4)])
def test_swapped_items_are_told(tmp_path, alike, noise):
    swapped = {3: 9, 9: 3}
    found, _ = compare(tmp_path, features(alike), swapped, noise=noise)
    assert found == {f"vid_{i}": f"holds the features of vid_{j}" for i, j in swapped.items()}


def test_the_owner_is_found_outside_the_sample_too(tmp_path):
    swapped = {3: 17, 17: 3}
    assert compare(tmp_path, features(), swapped, rows=[3])[0] == {"vid_3": "holds the features of vid_17"}
    swapped = {3: 9, 9: 3}
    found, _ = compare(tmp_path / "alike", features(0.99), swapped, rows=[1, 3, 5, 7])
    assert found == {"vid_3": "holds the features of vid_9"}


def test_a_shift_by_one_is_told(tmp_path):
    same = [array[:2] for array in features()]
    found, _ = compare(tmp_path, same, {i: max(0, i - 1) for i in range(VIDEOS)}, rows=[0, 8, 9])
    assert found == {f"vid_{i}": f"holds the features of vid_{i - 1}" for i in (8, 9)}


def test_frames_in_another_order_are_found(tmp_path):
    true = features()
    turned = [array[::-1] if i == 4 else array for i, array in enumerate(true)]
    write(shard_path(tmp_path, "video", 0), {f"vid_{i}": array for i, array in enumerate(turned)})
    found = Found()
    opened = open_all(tmp_path, found)
    comparison = Comparison(
        opened, "video", lambda _, rows: ({"video": true[r]} for r in rows), TOLERANCE, found
    )
    comparison.shard(opened.shards["video"][0], list(range(VIDEOS)))
    comparison.tell()
    assert [problem.key for problem in found.problems] == ["vid_4"]


def test_features_of_no_item_are_told_by_their_cosine(tmp_path):
    true = features()
    true.append(np.ones((2, WIDTH)))
    found, _ = compare(tmp_path, true, {6: VIDEOS})
    assert set(found) == {"vid_6"} and "cosine" in found["vid_6"]


def test_another_number_of_frames_is_told(tmp_path):
    true = features()
    true.append(np.ones((7, WIDTH)))
    assert compare(tmp_path, true, {6: VIDEOS})[0] == {"vid_6": "holds 7 rows"}


def test_what_cannot_be_encoded_is_a_problem_and_not_the_end(tmp_path):
    write(shard_path(tmp_path, "video", 0), {"vid_0": features()[0]})
    found = Found()
    opened = open_all(tmp_path, found)

    def encode(shard, rows):
        raise UserError("frames.tar: no tar of frames; run extract_frames again")
        yield

    comparison = Comparison(opened, "video", encode, TOLERANCE, found)
    comparison.shard(opened.shards["video"][0], [0])
    comparison.tell()
    [problem] = found.problems
    assert "frames.tar" in problem.found and problem.remedy == "run extract_frames again"
