"""Random damage to a shard and its index: the reader and verify end in sentences, and no wrong value goes unnoticed."""

import shutil

import numpy as np
import pytest

from tests.unit.features.test_verify import ENCODER, verify
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import index_path, shard_path
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter

ROUNDS = 300
KEYS = 6


def make(root) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {f"vid_{i}": rng.standard_normal((1 + i % 3, 8)).astype(np.float16) for i in range(KEYS)}
    with ShardWriter(shard_path(root, "video", 0), ENCODER) as writer:
        for key, array in arrays.items():
            writer.write(key, array)
    return arrays


def read(root, arrays) -> str:
    """What the reader gives: `right` values, `wrong` ones, or it `refused` with a sentence."""
    try:
        reader = open_features(root, "video")
        found = {key: reader[key] for key in reader}
    except UserError:
        return "refused"
    same = found.keys() == arrays.keys() and all(
        found[key].shape == array.shape and found[key].tobytes() == array.tobytes()
        for key, array in arrays.items()
    )
    return "right" if same else "wrong"


def problems(root) -> int:
    try:
        return len(verify(root))
    except UserError:
        return 1


def mutate(data: bytes, rng: np.random.Generator) -> bytes:
    """A flipped bit, a random byte, a run of zeros, bytes that changed places, or a cut."""
    spoiled, place = bytearray(data), int(rng.integers(len(data)))
    what = rng.integers(5)
    if what == 0:
        spoiled[place] ^= 1 << int(rng.integers(8))
    elif what == 1:
        spoiled[place] = int(rng.integers(256))
    elif what == 2:
        size = min(int(rng.integers(1, 64)), len(data) - place)
        spoiled[place : place + size] = bytes(size)
    elif what == 3:
        other = int(rng.integers(len(data)))
        spoiled[place], spoiled[other] = spoiled[other], spoiled[place]
    else:
        del spoiled[place:]
    return bytes(spoiled)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    root = tmp_path_factory.mktemp("sound")
    return root, make(root)


@pytest.mark.parametrize("part", ["shard", "index"])
def test_damage_is_never_unnoticed_and_never_a_traceback(sound, tmp_path, part):
    root, arrays = shutil.copytree(sound[0], tmp_path / "root"), sound[1]
    shard = shard_path(root, "video", 0)
    file = shard if part == "shard" else index_path(shard)
    data, rng = file.read_bytes(), np.random.default_rng(1)
    for number in range(ROUNDS // 2):
        file.write_bytes(mutate(data, rng))
        assert problems(root) or read(root, arrays) == "right", f"mutation {number} is not noticed"


def test_every_flip_in_the_values_is_found(sound, tmp_path):
    root, arrays = shutil.copytree(sound[0], tmp_path / "root"), sound[1]
    shard = shard_path(root, "video", 0)
    data = shard.read_bytes()
    places = [data.index(array.tobytes()) + i for array in arrays.values() for i in range(array.nbytes)]
    for place in places[::7]:
        spoiled = bytearray(data)
        spoiled[place] ^= 1 << place % 8
        shard.write_bytes(spoiled)
        assert problems(root) == 1
