"""One reader over every source: the same arrays by all of them, and refusals that name file and key."""

import json
import os
import pickle
import random
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import h5py
import numpy as np
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.layout import FOLDERS, PATTERNS, SIDE_OF, index_path, shard_path
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter

ENCODER = {"model": "test", "한국어": "é"}
PER_SHARD = 10
TAILS = {"video": (6,), "token": (3, 4), "text": (6,), "sentence": (6,)}


def features(seed, kind="video", videos=35, dtype=np.float16):
    """Random arrays by key: some videos are missing, some arrays are empty, some videos have several captions."""
    rng, found = np.random.default_rng(seed), {}
    for video in range(videos):
        if rng.random() < 0.2:
            continue
        captions = [""] if SIDE_OF[kind] == "video" else [f"#cap_{j}" for j in range(4) if rng.random() < 0.7]
        for caption in captions:
            length = 1 if kind == "sentence" else rng.integers(0, 6)
            found[f"vid_{video}{caption}"] = rng.standard_normal((length, *TAILS[kind])).astype(dtype)
    return found


def shard_of(key):
    return int(key.removeprefix("vid_").partition("#")[0]) // PER_SHARD


def write_ours(root, kind, found, encoder=ENCODER):
    for shard in range(shard_of(max(found, key=shard_of)) + 1):
        with ShardWriter(shard_path(root, kind, shard), encoder, "float16") as writer:
            for key, array in found.items():
                if shard_of(key) == shard:
                    writer.write(key, array)


def write_foreign(root, kind, found, **options):
    for key, array in found.items():
        path = shard_path(root, kind, shard_of(key))
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "a") as file:
            file.create_dataset(key, data=array, **(options if array.size else {}))


def write_manifest(root, kind, found, path=lambda kind, shard: f"{FOLDERS[kind]}/{PATTERNS[kind] % shard}"):
    manifest = {key: path(kind, shard_of(key)) for key in found}
    (root / f"{SIDE_OF[kind]}_manifest.json").write_text(json.dumps(manifest, ensure_ascii=False))


def write_meta(root, kind, total, name="meta", /, **more):
    side = SIDE_OF[kind]
    meta = {"kind": side, "pattern": PATTERNS[side], "per_shard": PER_SHARD, "total": total, **more}
    (root / f"{side}_{name}.json").write_text(json.dumps({k: v for k, v in meta.items() if v is not None}))


def check(reader, found):
    assert len(reader) == len(found) and sorted(reader) == sorted(found)
    for key, array in found.items():
        read = reader[key]
        assert key in reader and read.shape == array.shape and read.dtype == array.dtype
        assert np.array_equal(read, array) and not read.flags.writeable
    parts = [key.removeprefix("vid_").partition("#cap_") for key in found]
    if all(key.startswith("vid_") for key in found):
        order = random.Random(0).choices(range(len(parts)), k=50)
        captions = np.array([int(parts[i][2]) for i in order]) if parts[0][2] else None
        taken = reader.take(np.array([int(parts[i][0]) for i in order]), captions)
        names = list(found)
        assert all(np.array_equal(array, found[names[i]]) for array, i in zip(taken, order, strict=True))
    for key in ("vid_999", "vid_999#cap_0", "nobody", "vid_0#cap_99"):
        assert key not in reader
        with pytest.raises(UserError, match=key):
            reader[key]
    assert 3 not in reader


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", FOLDERS)
@pytest.mark.parametrize("ours", [True, False])
def test_the_same_arrays_by_meta_manifest_shards_and_single_file(tmp_path, seed, kind, ours):
    found = features(seed, kind)
    write_ours(tmp_path, kind, found) if ours else write_foreign(tmp_path, kind, found)
    shards = len(list((tmp_path / FOLDERS[kind]).glob("*.hdf5")))
    check(open_features(tmp_path, kind), found)
    if kind != (side := SIDE_OF[kind]):  # the manifest tells of those
        write_foreign(tmp_path, side, {key: np.ones((1, 6)) for key in found})
    write_manifest(tmp_path, side, found)
    check(open_features(tmp_path, kind), found)  # and makes auto meta
    check(open_features(tmp_path, kind), found)  # which is used now
    (tmp_path / f"{SIDE_OF[kind]}_manifest.json").unlink()
    (auto,) = tmp_path.glob("*_meta.auto.json")
    assert json.loads(auto.read_text())["total"] == len(found)
    check(open_features(tmp_path, kind), found)
    write_meta(tmp_path, kind, len(found))  # as the reference writes it
    check(open_features(tmp_path, kind), found)
    encoder = ENCODER if ours else None
    splits = {"train": len(found) - 3, "val": 2, "test": 1}
    write_meta(tmp_path, kind, len(found), shards=shards, encoder=encoder, splits=splits)
    check(open_features(tmp_path, kind), found)
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for key, array in found.items():
            file[key] = array
    check(open_features(tmp_path / "all.h5", kind), found)


@pytest.mark.parametrize("name", ["FeatureData/feature.hdf5", "FeatureData/i3d/any name.h5"])
def test_one_hdf5_below_the_root(tmp_path, name):
    found = features(0, dtype=np.float64)
    (tmp_path / name).parent.mkdir(parents=True)
    with h5py.File(tmp_path / name, "w") as file:
        for key, array in found.items():
            file[key] = array
    check(open_features(tmp_path, "video"), found)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"chunks": True}, {"fletcher32": True}])
@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4"])
def test_number_formats_and_layouts_of_other_writers(tmp_path, options, dtype):
    found = features(1, dtype=dtype)
    write_foreign(tmp_path, "video", found, **options)
    write_meta(tmp_path, "video", len(found))
    check(open_features(tmp_path, "video"), found)


def test_keys_of_any_script(tmp_path):
    found = {
        "영상 1#enc#0": np.ones((2, 6)),
        "視頻#0": np.zeros((1, 6)),
        "é" * 40: np.ones((0, 6)),
        "vid_0": np.ones((3, 6)),
    }
    folder = tmp_path / "TextData"
    folder.mkdir()
    for number, keys in enumerate((list(found)[:2], list(found)[2:])):
        with h5py.File(folder / f"text_shard_{number:03d}.hdf5", "w") as file:
            for key in keys:
                file[key] = found[key]
    reader = open_features(tmp_path, "text")
    check(reader, found)
    check(pickle.loads(pickle.dumps(reader)), found)
    manifest = {key: f"TextData/text_shard_{number // 2:03d}.hdf5" for number, key in enumerate(found)}
    for ensure_ascii in (True, False):
        (tmp_path / "text_manifest.json").write_text(json.dumps(manifest, ensure_ascii=ensure_ascii))
        check(open_features(tmp_path, "text"), found)
    assert not (tmp_path / "text_meta.auto.json").exists()


def _sums(reader, keys):
    return [float(reader[key].astype(np.float64).sum()) for key in keys]


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
@pytest.mark.parametrize("options", [None, {"compression": "gzip"}])
def test_other_processes_read_the_same(tmp_path, method, options):
    found = features(2)
    write_foreign(tmp_path, "video", found, **options) if options else write_ours(tmp_path, "video", found)
    reader, keys = open_features(tmp_path, "video"), list(found)
    here = _sums(reader, keys)  # files are open in this process
    with ProcessPoolExecutor(2, get_context(method)) as pool:
        assert [*pool.map(_sums, [reader] * 2, [keys] * 2)] == [here, here]
    assert _sums(reader, keys) == here


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_file_is_kept_open(tmp_path):
    found = features(3, videos=300)
    write_ours(tmp_path, "video", found)
    before = open_files()
    reader = open_features(tmp_path, "video")
    assert len(list(reader.values())) == len(found)
    assert open_files() <= before
    other = tmp_path / "other"
    write_foreign(other, "video", found, compression="gzip")
    reader = open_features(other, "video")
    assert len(list(reader.values())) == len(found)
    assert open_files() <= before + 10  # of 30


# ---------------------------------------------------------------------- which source


def test_two_candidates_are_listed(tmp_path):
    folder = tmp_path / "FeatureData"
    write_foreign(tmp_path, "video", {"vid_0": np.ones((1, 6))})
    (folder / "i3d").mkdir()
    (folder / "i3d" / "shape.txt").touch()
    with pytest.raises(UserError, match=r"several features.*video_shard_\*.*i3d"):
        open_features(tmp_path, "video")
    (folder / "video_shard_000.hdf5").rename(folder / "feature.hdf5")
    with pytest.raises(UserError, match=r"several features.*feature\.hdf5, .*i3d"):
        open_features(tmp_path, "video")
    assert len(open_features(folder / "feature.hdf5", "video")) == 1


@pytest.mark.parametrize("kind", FOLDERS)
def test_nothing_there(tmp_path, kind):
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match=str(tmp_path)):
            open_features(root, kind)


def test_shards_beyond_a_thousand_are_in_order(tmp_path):
    found = {f"vid_{shard * PER_SHARD}": np.full((1, 6), shard) + 0.5 for shard in (0, 1, 2)}
    write_foreign(tmp_path, "video", found)
    for number in range(3, 1002):
        os.link(shard_path(tmp_path, "video", 2), shard_path(tmp_path, "video", number))
    with pytest.raises(UserError, match=r"video_shard_1001\.hdf5: key vid_20 does not belong here"):
        write_meta(tmp_path, "video", 1002)
        open_features(tmp_path, "video")["vid_10010"]


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_missing_shard_is_named(tmp_path, kind):
    found = features(0, kind)
    write_ours(tmp_path, kind, found)
    shard_path(tmp_path, kind, 1).unlink()
    for more in (None, {}, {"shards": 4}):
        if more is not None:
            write_meta(tmp_path, kind, len(found), **more)
        with pytest.raises(UserError, match=rf"{kind}_shard_001\.hdf5: this feature shard is missing"):
            open_features(tmp_path, kind)


# ---------------------------------------------------------------------- meta


@pytest.mark.parametrize("difference", [-1, 1, 100])
@pytest.mark.parametrize("name", ["meta", "meta.auto"])
@pytest.mark.parametrize("ours", [True, False])
def test_a_wrong_total_is_refused_with_both_numbers(tmp_path, difference, name, ours):
    found = features(0)
    write_ours(tmp_path, "video", found) if ours else write_foreign(tmp_path, "video", found)
    total = len(found) + difference
    write_meta(tmp_path, "video", total, name)
    with pytest.raises(
        UserError, match=rf"video_{name}\.json: `total` is {total}, .* hold {len(found)} keys"
    ):
        open_features(tmp_path, "video")


def test_tokens_go_by_the_meta_of_the_videos(tmp_path):
    found = features(0)
    write_ours(tmp_path, "video", found)
    write_ours(tmp_path, "token", {key: np.ones((2, 3, 4)) for key in list(found)[:-1]})
    write_meta(tmp_path, "video", len(found), shards=4, encoder=ENCODER)
    with pytest.raises(
        UserError, match=rf"`total` is {len(found)}, but the 4 token shards hold {len(found) - 1}"
    ):
        open_features(tmp_path, "token")
    for shard in range(4):  # an encoder that keeps no tokens
        with ShardWriter(shard_path(tmp_path, "token", shard), ENCODER):
            pass
    assert len(open_features(tmp_path, "token")) == 0


@pytest.mark.parametrize(
    "wrong, match",
    [
        ({"splits": {"train": 5}}, r"`splits` add up to 5 keys, but `total`"),
        ({"per_shard": 0}, "per_shard"),
        ({"per_shard": None}, "per_shard"),
        ({"per_shard": True}, "per_shard"),
        ({"total": "many"}, "total.*'many'"),
        ({"total": None}, "total"),
        ({"pattern": "../video_shard_%03d.hdf5"}, "pattern"),
        ({"pattern": "video.hdf5"}, "pattern"),
        ({"pattern": "%d_%d.hdf5"}, "pattern"),
        ({"pattern": "video_shard_%0999999999d.hdf5"}, "pattern"),
        ({"kind": "text"}, "kind 'text'"),
        ({"shards": 5}, r"video_shard_004\.hdf5.*missing"),
        ({"shards": -1}, "shards"),
        (
            {"encoder": {"model": "other"}},
            r"video_shard_000\.hdf5: made by another encoder than .*meta\.json \(.*model: .* instead of 'other'.*\); ",
        ),
    ],
)
def test_a_wrong_meta_is_named(tmp_path, wrong, match):
    found = features(0)
    write_ours(tmp_path, "video", found)
    write_meta(tmp_path, "video", len(found), **wrong)
    with pytest.raises(UserError, match=match):
        open_features(tmp_path, "video")


@pytest.mark.parametrize("content", ["", "[]", "3", '{"per_shard": 10', '"a"'])
def test_a_meta_that_is_no_meta(tmp_path, content):
    write_ours(tmp_path, "video", features(0))
    (tmp_path / "video_meta.json").write_text(content)
    with pytest.raises(UserError, match=r"video_meta\.json"):
        open_features(tmp_path, "video")


def test_a_key_in_another_shard_than_meta_says(tmp_path):
    found = features(0, "text")
    write_ours(tmp_path, "text", found)
    write_meta(tmp_path, "text", len(found), per_shard=PER_SHARD - 1)
    with pytest.raises(
        UserError, match=r"text_shard_001\.hdf5: key vid_1\d#cap_\d does not belong here.*9 to 17"
    ):
        open_features(tmp_path, "text").take(np.array([12]), np.array([0]))


# ---------------------------------------------------------------------- manifest


def test_a_changed_manifest_is_noticed(tmp_path):
    found = features(0)
    write_foreign(tmp_path, "video", found)
    write_manifest(tmp_path, "video", found)
    check(open_features(tmp_path, "video"), found)
    shard_path(tmp_path, "video", 1).rename(tmp_path / "elsewhere.hdf5")
    write_manifest(
        tmp_path,
        "video",
        found,
        lambda _, n: "elsewhere.hdf5" if n == 1 else f"FeatureData/{PATTERNS['video'] % n}",
    )
    check(open_features(tmp_path, "video"), found)


@pytest.mark.parametrize(
    "content", ["", "{}", '{"pattern": 3}', '{"pattern": "a_%d.hdf5", "per_shard": 1, "total": 3}']
)
def test_an_auto_meta_that_does_not_serve_is_made_again(tmp_path, content):
    found = features(0)
    write_foreign(tmp_path, "video", found)
    write_manifest(tmp_path, "video", found)
    (tmp_path / "video_meta.auto.json").write_text(content)
    check(open_features(tmp_path, "video"), found)
    assert json.loads((tmp_path / "video_meta.auto.json").read_text())["total"] == len(found)
    assert len(list(tmp_path.iterdir())) == 3  # nothing else is left


def test_a_folder_that_cannot_be_written_to_is_read(tmp_path, monkeypatch):
    found = features(0)
    write_foreign(tmp_path, "video", found)
    write_manifest(tmp_path, "video", found)

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr("workflow_scripts.lib.features.reading.locate.write_json", refuse)
    check(open_features(tmp_path, "video"), found)


def test_a_manifest_may_leave_keys_out_and_choose_between_files(tmp_path):
    found = features(0)
    write_foreign(tmp_path, "video", found)
    some = dict(list(found.items())[::2])
    write_manifest(tmp_path, "video", some)
    check(open_features(tmp_path, "video"), some)
    key = next(iter(found))
    with h5py.File(tmp_path / "better.hdf5", "w") as file:
        file[key] = some[key] = np.full((2, 6), 7, np.float16)
    manifest = json.loads((tmp_path / "video_manifest.json").read_text()) | {key: "better.hdf5"}
    (tmp_path / "video_manifest.json").write_text(json.dumps(manifest))
    check(open_features(tmp_path, "video"), some)


@pytest.mark.parametrize(
    "path, match",
    [
        ("../other.hdf5", "key vid_0 is in '../other.hdf5', which is no file below"),
        ("FeatureData/../../other.hdf5", "which is no file below"),
        ("/etc/passwd", "key vid_0 is in '/etc/passwd', which is no file below"),
        (".", "which is no file below"),
        ("FeatureData/none.hdf5", r"key vid_0 is in FeatureData/none\.hdf5, which is missing"),
        ("", "which is no file below"),
        (3, r"has \('vid_0', 3\)"),
        ({"a": "b"}, "vid_0"),
    ],
)
def test_a_manifest_that_names_what_is_not_below_the_root(tmp_path, path, match):
    (tmp_path / "root").mkdir()
    (tmp_path / "other.hdf5").touch()
    (tmp_path / "root" / "video_manifest.json").write_text(json.dumps({"vid_0": path}))
    with pytest.raises(UserError, match=rf"video_manifest\.json: .*{match}"):
        open_features(tmp_path / "root", "video")


def test_a_key_that_its_file_does_not_have(tmp_path):
    found = features(0)
    missing = next(key for key in found if shard_of(key) == 1)
    write_foreign(tmp_path, "video", {key: array for key, array in found.items() if key != missing})
    manifest = {key: f"FeatureData/{PATTERNS['video'] % shard_of(key)}" for key in found}
    (tmp_path / "video_manifest.json").write_text(json.dumps(manifest))
    reader = open_features(tmp_path, "video")
    with pytest.raises(
        UserError, match=rf"video_shard_001\.hdf5: has no key {missing}, which .*video_manifest\.json"
    ):
        reader[missing]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        '{"vid_0": "a.hdf5"',
        '{"vid_0": "a.hdf5",}',
        "[]",
        "null",
        '["a"]',
        '{"vid_0" "a"}',
        '{"a": "b"} x',
        b"\xff\xfe",
    ],
)
def test_a_manifest_that_is_no_manifest(tmp_path, content):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "video_manifest.json").write_bytes(data)
    with pytest.raises(UserError, match=r"video_manifest\.json"):
        open_features(tmp_path, "video")


def test_a_key_twice_in_a_manifest(tmp_path):
    write_foreign(tmp_path, "video", {"vid_0": np.ones((1, 6))})
    name = "FeatureData/video_shard_000.hdf5"
    (tmp_path / "video_manifest.json").write_text(f'{{"vid_0": "{name}", "vid_0": "{name}"}}')
    with pytest.raises(UserError, match=r"video_manifest\.json: key vid_0 is there twice"):
        open_features(tmp_path, "video")


def test_a_manifest_is_read_block_by_block(tmp_path, monkeypatch):
    monkeypatch.setattr("workflow_scripts.lib.features.reading.manifest.BLOCK", 64)
    names = ['",', '",,"', '\\",', '{"', "}", ",", "x" * 300, "한국", *map(str, range(50))]
    found = {name: np.full((1, 6), i, np.float16) for i, name in enumerate(names)}
    with h5py.File(tmp_path / 'a",b.hdf5', "w") as file:
        for key, array in found.items():
            file[key] = array
    for separators in ((",", ":"), (", ", ": "), (" ,\n", "\t:\n")):
        manifest = json.dumps(dict.fromkeys(found, 'a",b.hdf5'), separators=separators)
        (tmp_path / "video_manifest.json").write_text(manifest)
        check(open_features(tmp_path, "video"), found)


# ---------------------------------------------------------------------- shards


def test_shards_of_another_encoder(tmp_path):
    write_ours(tmp_path, "video", features(0))
    with ShardWriter(shard_path(tmp_path, "video", 2), {"model": "other"}) as writer:
        writer.write("vid_20", np.ones((1, 6)))
    with pytest.raises(UserError, match=r"video_shard_002\.hdf5: made by another encoder than"):
        open_features(tmp_path, "video")


def test_a_key_in_two_shards(tmp_path):
    write_foreign(
        tmp_path, "video", {"vid_0": np.ones((1, 6)), "vid_5": np.ones((1, 6)), "vid_15": np.ones((1, 6))}
    )
    with h5py.File(shard_path(tmp_path, "video", 1), "a") as file:
        file["vid_5"] = np.zeros((1, 6))
    with pytest.raises(
        UserError, match=r"shard_001\.hdf5: key vid_5 is in two shards, also in .*shard_000\.hdf5"
    ):
        open_features(tmp_path, "video")


def test_a_shard_that_changes_under_the_reader(tmp_path):
    write_ours(tmp_path, "video", features(0))
    write_meta(tmp_path, "video", len(features(0)))
    reader = open_features(tmp_path, "video")
    with ShardWriter(shard_path(tmp_path, "video", 1), ENCODER) as writer:
        writer.write("vid_10", np.ones((1, 6)))
    with pytest.raises(UserError, match=r"video_shard_001\.hdf5: has changed"):
        reader["vid_10"]


def test_widths_and_dimensions(tmp_path):
    write_foreign(tmp_path, "video", {"vid_0": np.ones((1, 6)), "vid_10": np.ones((1, 7))})
    write_meta(tmp_path, "video", 2)
    reader = open_features(tmp_path, "video")
    assert reader["vid_0"].shape == (1, 6)
    with pytest.raises(
        UserError, match=r"video_shard_001\.hdf5: key vid_10 has rows \[7\] .*unlike.*000\.hdf5, \[6\]"
    ):
        reader["vid_10"]
    with pytest.raises(UserError, match=r"key vid_0 is \[rows, 6\], but token features are \[T, P, D\]"):
        open_features(shard_path(tmp_path, "video", 0), "token")["vid_0"]


def test_other_writers_keys_are_refused_when_they_are_read(tmp_path):
    """Not before: a look at 50,000 of them takes seconds."""
    good = np.ones((2, 6))
    found = {
        "vid_0": good,
        "vid_1": np.full((2, 6), np.nan),
        "vid_2": np.ones((2, 7)),
        "vid_3": np.ones(6),
        "vid_4": good,
    }
    write_foreign(tmp_path, "video", found)
    reader = open_features(tmp_path, "video")
    for key, match in (("vid_1", "NaN"), ("vid_2", r"\[2, 7\]"), ("vid_3", r"\[6\]")):
        with pytest.raises(UserError, match=rf"video_shard_000\.hdf5: key {key} .*{match}"):
            reader[key]
    assert np.array_equal(reader["vid_4"], good)


def test_a_damaged_chunk_is_named(tmp_path):
    write_foreign(tmp_path, "video", {"vid_0": np.random.default_rng(0).random((90, 6))}, compression="gzip")
    path = shard_path(tmp_path, "video", 0)
    with h5py.File(path) as file:
        place = file["vid_0"].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[place.byte_offset + 2 : place.byte_offset + place.size] = bytes(place.size - 2)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"video_shard_000\.hdf5: key vid_0 cannot be read"):
        open_features(tmp_path, "video")["vid_0"]


@pytest.mark.parametrize("ours", [True, False])
def test_a_truncated_shard_is_named_at_once(tmp_path, ours):
    write_ours(tmp_path, "video", features(0)) if ours else write_foreign(tmp_path, "video", features(0))
    path = shard_path(tmp_path, "video", 2)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"video_shard_002\.hdf5"):
        open_features(tmp_path, "video")


def test_digests_tell_other_features(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        write_ours(tmp_path / name, "video", features(seed))
    a, b, c = (open_features(tmp_path / name, "video").digests() for name in "abc")
    assert a == b != c and len(a) == 4
    index_path(shard_path(tmp_path / "a", "video", 0)).unlink()
    assert open_features(tmp_path / "a", "video").digests() == a
    write_foreign(tmp_path / "d", "video", features(0))
    before = open_features(tmp_path / "d", "video").digests()
    os.utime(shard_path(tmp_path / "d", "video", 0), ns=(0, 0))
    assert open_features(tmp_path / "d", "video").digests() != before
