"""The index beside a shard: a shortcut that may be damaged in any way, and keys as arrays."""

import json
import random

import h5py
import numpy as np
import pyarrow as pa
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.index import NOT_ASKED, read_index, summarize
from workflow_scripts.lib.features.keys import Keys
from workflow_scripts.lib.features.layout import index_path, parse_key, shard_path
from workflow_scripts.lib.features.shards import ShardWriter

KEYS = {
    "videos": [f"vid_{i}" for i in (3, 10, 2, 400, 999_999_999_999)],
    "captions": [f"vid_{i}#cap_{j}" for i in (7, 0, 30) for j in (5, 0, 2, 11)],
    "foreign": ["tr0#enc#0", "영상 1", "vid_1", "視頻/2".replace("/", "_"), "😀" * 9, "a\x00b", "a"],
    "both": ["vid_1", "vid_1#cap_0"],
    "not quite": [
        "vid_01",
        "vid_-1",
        "vid_1\n",
        "vid_9999999999999999999999",
        "vid_1٣",
        "vid_2#cap_9999999999",
    ],
    "none": [],
}


@pytest.mark.parametrize("form", KEYS)
def test_keys_are_found_where_they_are(form):
    names = KEYS[form]
    keys, order = Keys.of(names)
    assert [names[i] for i in order] == list(keys) and len(keys) == len(names)
    assert all(keys.key(keys.row(name)) == name for name in names)
    for other in {name for others in KEYS.values() for name in others} - set(names):
        assert keys.row(other) is None
    assert keys.row("a\udc80") is None and keys.duplicate() is None
    assert (keys.names is None) == (form in ("videos", "captions", "none"))


def test_keys_as_integers_agree_one_by_one_and_all_at_once():
    rng = random.Random(0)
    present = sorted(rng.sample([(i, j) for i in range(40) for j in range(6)], 150))
    keys, _ = Keys.of([f"vid_{i}#cap_{j}" for i, j in present])
    wanted = np.array([(i, j) for i in range(-1, 42) for j in range(-1, 8)])
    rows = keys.rows(wanted[:, 0], wanted[:, 1].astype(np.int32))
    for (video, caption), row in zip(wanted.tolist(), rows, strict=True):
        expected = present.index((video, caption)) if (video, caption) in present else -1
        assert keys.find(video, caption) == row == expected
    assert keys.find(0) == -1 and (keys.rows(np.arange(3)) == -1).all()


def test_keys_of_several_shards_are_joined():
    parts = [Keys.of(KEYS[form])[0] for form in ("videos", "none", "captions", "foreign")]
    keys, order = Keys.joined(parts)
    one_after_another = [key for part in parts for key in part]
    assert list(keys) == sorted(one_after_another) == [one_after_another[i] for i in order]
    twice, _ = Keys.joined([parts[0], parts[0][1:2]])
    assert twice.key(twice.duplicate()) == parts[0].key(1)


def write(root, shard=0, count=30, encoder="test", tail=(4,)):
    rng = np.random.default_rng(shard)
    path = shard_path(root, "video", shard)
    with ShardWriter(path, {"model": encoder}) as writer:
        for i in range(count):
            writer.write(f"vid_{i}", rng.standard_normal((i % 5, *tail)))
    return path


def same(one, other):
    columns = [(index.offsets, index.lengths, index.keys.videos) for index in (one, other)]
    facts = [(index.tail, index.dtype, index.encoder, index.digest) for index in (one, other)]
    return all(map(np.array_equal, *columns)) and facts[0] == facts[1]


def test_the_sidecar_and_the_hdf5_say_the_same(tmp_path):
    path = write(tmp_path)
    ours, ours_summary = read_index(path), summarize(path)
    index_path(path).unlink()
    theirs = read_index(path)
    assert same(ours, theirs) and summarize(path) == ours_summary
    assert ours.checksums is not None and theirs.checksums is None
    lazily = read_index(path, lazily=True)
    assert lazily.tail == ours.tail and (lazily.offsets[1:] == NOT_ASKED).all()


def replace(path, content):
    """As another file: what is mapped stays as it was."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def test_any_damage_to_the_sidecar_is_noticed(tmp_path):
    path = write(tmp_path)
    index_path(path).rename(tmp_path / "whole")
    data, expected = (tmp_path / "whole").read_bytes(), read_index(path)
    rng = random.Random(0)
    damaged = [data[: rng.randrange(len(data))] for _ in range(20)]
    damaged += [rng.randbytes(length) for length in (0, 1, 8, 100, 5000)]
    for _ in range(100):
        changed = bytearray(data)
        for _ in range(rng.choice((1, 1, 8))):
            changed[rng.randrange(len(data))] = rng.randrange(256)
        damaged.append(bytes(changed))
    for content in damaged:
        replace(index_path(path), content)
        assert same(read_index(path), expected)
        assert summarize(path).rows == 30


@pytest.mark.parametrize(
    "column, wrong",
    [
        ("offset", np.full(30, 2**62)),
        ("offset", np.full(30, 10**6)),
        ("length", np.full(30, 2**62)),
        ("length", np.full(30, -5)),
        ("video", np.array(["a"] * 30)),
        ("offset", np.linspace(0, 1, 30)),
    ],
)
def test_a_sidecar_that_cannot_be_right_is_not_used(tmp_path, column, wrong):
    """Even if it is undamaged: it was written by other code."""
    path = write(tmp_path)
    expected = read_index(path)
    table = pa.ipc.open_file(index_path(path)).read_all()
    place = table.column_names.index(column)
    changed = table.set_column(place, column, pa.array(wrong)).replace_schema_metadata(table.schema.metadata)
    index_path(path).unlink()
    with pa.ipc.new_file(str(index_path(path)), changed.schema) as writer:
        writer.write_table(changed)
    assert same(read_index(path), expected)


def test_the_sidecar_of_another_shard_is_not_used(tmp_path):
    path, other = write(tmp_path), write(tmp_path, shard=1)
    expected = read_index(path)
    replace(index_path(path), index_path(other).read_bytes())
    assert same(read_index(path), expected)


def foreign(path, datasets, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", **options) as file:
        for key, array in datasets.items():
            file.create_dataset(key, data=array)
    return path


@pytest.mark.parametrize(
    "wrong, match",
    [
        (np.ones((2, 5)), r"key vid_1 is \[2, 5\] of float64, unlike vid_0.*\[rows, 4\]"),
        (np.ones((2, 4), np.float32), "key vid_1 is .* of float32"),
        (np.ones(4), r"key vid_1 is \[4\] of float64; features are"),
        (np.ones((2, 4), np.int64), "key vid_1 .* int64"),
        (np.array([[b"a"]]), r"key vid_1 .*features are floating-point"),
    ],
)
def test_wrong_shapes_and_formats_are_named(tmp_path, wrong, match):
    path = foreign(tmp_path / "a.hdf5", {"vid_0": np.ones((3, 4)), "vid_1": wrong})
    with pytest.raises(UserError, match=match):
        read_index(path)


def test_what_is_no_dataset_is_named(tmp_path):
    path = foreign(tmp_path / "a.hdf5", {"vid_0": np.ones((3, 4))})
    other = foreign(tmp_path / "b.hdf5", {"vid_1": np.ones((3, 4))})
    with h5py.File(path, "r+") as file:
        file["vid_1"] = h5py.ExternalLink(str(other), "vid_1")
    with pytest.raises(UserError, match="vid_1 is a link into another file"):
        read_index(path)
    with h5py.File(path, "r+") as file:
        del file["vid_1"]
        file.create_group("vid_1")
    with pytest.raises(UserError, match="vid_1 is a group"):
        read_index(path)


def test_a_dangling_link_and_a_key_that_is_no_text(tmp_path):
    path = foreign(tmp_path / "a.hdf5", {"vid_0": np.ones((3, 4))})
    with h5py.File(path, "r+") as file:
        file["vid_1"] = h5py.SoftLink("/nowhere")
    with pytest.raises(UserError, match=r"a\.hdf5"):
        read_index(path)
    with h5py.File(path, "w") as file:
        file.create_dataset(b"\xff\xfe", data=np.ones((3, 4)))
    with pytest.raises(UserError, match=r"a\.hdf5.*UTF-8"):
        read_index(path)


def test_attributes_of_other_writers_say_nothing(tmp_path):
    path = foreign(tmp_path / "a.hdf5", {"vid_0": np.ones((3, 4))})
    with h5py.File(path, "r+") as file:
        file.attrs["encoder"], file.attrs["digest"] = 3, np.ones(4)
    index = read_index(path)
    assert (index.encoder, index.digest) == (None, None)


def test_a_wrong_byte_in_attributes_of_our_own_is_refused(tmp_path):
    path, encoder = tmp_path / "a.hdf5", {"model": "모델 模型"}
    with ShardWriter(path, encoder) as writer:
        writer.write("vid_0", np.ones((3, 4)))
    content, index = path.read_bytes(), read_index(path)
    assert json.loads(index.encoder) == encoder
    assert b"GCOL" not in content  # a heap of texts, of which a wrong byte lets HDF5 loop for ever
    for place in (content.index("모델".encode()), content.index(index.digest.encode())):
        path.write_bytes(content[:place] + b"#" + content[place + 1 :])
        with pytest.raises(UserError, match=r"a\.hdf5: cannot be read as HDF5 .*checksum"):
            read_index(path)


def test_an_identity_that_no_header_holds(tmp_path):
    path, encoder = tmp_path / "a.hdf5", {"model": "x" * 100_000}
    with ShardWriter(path, encoder) as writer:
        writer.write("vid_0", np.ones((3, 4)))
    assert json.loads(read_index(path).encoder) == encoder


def test_byte_offsets_count_a_user_block(tmp_path):
    path = foreign(tmp_path / "a.hdf5", {"vid_0": np.arange(12.0).reshape(3, 4)}, userblock_size=1024)
    offset = read_index(path).offsets.item(0)
    assert np.array_equal(np.frombuffer(path.read_bytes()[offset : offset + 96]), np.arange(12.0))


@pytest.mark.parametrize("content", [b"", b"HDF", b"\x89HDF\r\n\x1a\n" + bytes(50)])
def test_what_is_no_hdf5_is_named(tmp_path, content):
    path = tmp_path / "a.hdf5"
    path.write_bytes(content)
    for function in (read_index, summarize):
        with pytest.raises(UserError, match=r"a\.hdf5: cannot be read as HDF5"):
            function(path)


def test_the_encoder_keeps_its_script(tmp_path):
    path = write(tmp_path, encoder="한국어")
    assert json.loads(read_index(path).encoder) == {"model": "한국어"}


@pytest.mark.parametrize(
    "key", ["vid_٣", "vid_1٣", "vid_00", "vid_1#cap_", "VID_1", "vid_1 ", "vid_" + "9" * 19]
)
def test_keys_that_only_look_like_ours(key):
    assert parse_key(key) is None
