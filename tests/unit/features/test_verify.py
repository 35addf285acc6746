"""verify: every kind of damage to shards and lists is found, by name, and sound features pass."""

import json
import shutil

import h5py
import numpy as np
import pyarrow as pa
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import TABLE, caption_table
from workflow_scripts.lib.features.layout import FOLDERS, PATTERNS, index_path, shard_path
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.features.verify.lists import check_lists
from workflow_scripts.lib.features.verify.problems import SAID, Problem, Problems, problems_listed_in
from workflow_scripts.lib.features.verify.structure import check_structure, open_all
from workflow_scripts.lib.features.verify.values import check_values

ENCODER = {"model": "시험", "weights_sha256": "ab"}
PER_SHARD, SHARDS, CAPTIONS, FRAMES, WORDS, WIDTH = 10, 2, 2, 3, 4, 8


class Found(Problems):
    """Keeps what is found."""

    def __init__(self):
        super().__init__()
        self.problems: list[Problem] = []

    def add(self, problem: Problem) -> None:
        super().add(problem)
        self.problems.append(problem)


def verify(root, sample=None, processes=1) -> list[Problem]:
    found, rng = Found(), np.random.default_rng(0)
    features = open_all(root, found)
    check_structure(features, rng, found)
    check_lists(features, found)
    check_values(features, sample, rng, processes, found)
    return found.problems


def told(root, **options) -> list[tuple[str, str | None]]:
    """File and key of each problem."""
    return [(problem.file.name, problem.key) for problem in verify(root, **options)]


def write(file, arrays, encoder=ENCODER):
    with ShardWriter(file, encoder) as writer:
        for key, array in arrays.items():
            writer.write(key, array)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """Features of two shards, all kinds and lists."""
    root, rng = tmp_path_factory.mktemp("특징") / "clip", np.random.default_rng(0)
    manifests = {"video": {}, "text": {}}
    for shard in range(SHARDS):
        videos = range(shard * PER_SHARD, (shard + 1) * PER_SHARD)
        keys = {
            "video": [f"vid_{i}" for i in videos],
            "text": [f"vid_{i}#cap_{j}" for i in videos for j in range(CAPTIONS)],
        }
        shapes = {
            "video": (FRAMES, WIDTH),
            "token": (FRAMES, 2, WIDTH),
            "text": (WORDS, WIDTH),
            "sentence": (1, WIDTH),
        }
        for kind, shape in shapes.items():
            side = "video" if kind in ("video", "token") else "text"
            write(shard_path(root, kind, shard), {key: rng.standard_normal(shape) for key in keys[side]})
        for side, its_keys in keys.items():
            manifests[side] |= dict.fromkeys(its_keys, f"{FOLDERS[side]}/{PATTERNS[side] % shard}")
    for side, manifest in manifests.items():
        lines = ",".join(f'\n  "{key}": "{file}"' for key, file in manifest.items())
        (root / f"{side}_manifest.json").write_text("{" + lines + "\n}\n", encoding="utf-8")
        meta = {
            "pattern": PATTERNS[side],
            "per_shard": PER_SHARD,
            "shards": SHARDS,
            "total": len(manifest),
            "encoder": ENCODER,
        }
        (root / f"{side}_meta.json").write_text(json.dumps(meta), encoding="utf-8")
    rows = [(i, j, "ko", "영상 하나") for i in range(SHARDS * PER_SHARD) for j in range(CAPTIONS)]
    write_captions(root, "train", rows)
    write_captions(root, "val", [])
    return root


def write_captions(root, split, rows):
    columns = zip(*rows, strict=True) if rows else ([], [], [], [])
    table = pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, TABLE, strict=True)], TABLE
    )
    with pa.ipc.new_file(str(caption_table(root, split)), TABLE) as writer:
        writer.write_table(table)
    lines = [f"vid_{i}#cap_{j} {text}\n" for i, j, _, text in rows]
    (root / FOLDERS["text"] / f"말뭉치{split}.caption.txt").write_text("".join(lines), encoding="utf-8")


@pytest.fixture
def root(sound, tmp_path):
    """A copy, to spoil."""
    return shutil.copytree(sound, tmp_path / "clip")


def spoil(file, key, values):
    """Write values in place, as h5py does it."""
    with h5py.File(file, "r+") as shard:
        shard[key][...] = values


def test_sound_features_pass(sound):
    assert verify(sound) == []
    assert verify(sound, sample=3) == []
    assert verify(sound, processes=2) == []


# ---------------------------------------------------------------------- values


@pytest.mark.parametrize("kind, key", [("video", "vid_3"), ("token", "vid_3"), ("sentence", "vid_3#cap_1")])
def test_a_flipped_bit_is_found(root, kind, key):
    file = shard_path(root, kind, 0)
    with h5py.File(file) as shard:
        offset = shard[key].id.get_offset()
    data = bytearray(file.read_bytes())
    data[offset + 5] ^= 1
    file.write_bytes(data)
    assert told(root) == [(file.name, key)]


@pytest.mark.parametrize(
    "value, word", [(np.nan, "1 of its 24 numbers are NaN"), (-np.inf, "NaN or infinite")]
)
def test_numbers_that_are_none_are_found(root, value, word):
    with h5py.File(shard_path(root, "video", 1), "r+") as shard:
        shard["vid_12"][1, 2] = value
    [problem] = verify(root)
    assert problem.key == "vid_12" and word in problem.found and "checksum" in problem.found


def test_a_zeroed_item_is_found(root):
    spoil(shard_path(root, "text", 0), "vid_2#cap_0", 0)
    [problem] = verify(root)
    assert problem.key == "vid_2#cap_0" and "all its numbers are zero" in problem.found


def test_items_that_changed_places_say_whose_they_are(root):
    file = shard_path(root, "video", 0)
    with h5py.File(file, "r+") as shard:
        one, other = shard["vid_1"][()], shard["vid_7"][()]
        shard["vid_1"][...], shard["vid_7"][...] = other, one
    problems = verify(root)
    assert [problem.key for problem in problems] == ["vid_1", "vid_7"]
    assert [problem.found for problem in problems] == [
        "holds the features of vid_7",
        "holds the features of vid_1",
    ]


def test_rows_that_changed_places_are_found(root):
    with h5py.File(shard_path(root, "video", 0), "r+") as shard:
        shard["vid_4"][...] = shard["vid_4"][()][::-1]
    assert told(root) == [("video_shard_000.hdf5", "vid_4")]


def test_items_that_were_zero_from_the_start_are_suspicious(root):
    write(
        shard_path(root, "video", 1), {f"vid_{i}": np.full((FRAMES, WIDTH), i - 10.0) for i in range(10, 20)}
    )
    [problem] = verify(root)
    assert (problem.key, problem.found) == ("vid_10", "all its numbers are zero")


def test_of_many_problems_twenty_are_printed_and_all_are_listed(root, capsys, tmp_path):
    for shard in range(SHARDS):
        for key in (f"vid_{i}" for i in range(shard * PER_SHARD, (shard + 1) * PER_SHARD)):
            spoil(shard_path(root, "video", shard), key, 1)
            spoil(shard_path(root, "token", shard), key, 1)
    found = tmp_path / "문제.jsonl"
    with problems_listed_in(found) as problems:
        check_values(open_all(root, problems), None, np.random.default_rng(0), 1, problems)
    rows = [json.loads(line) for line in found.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == problems.count == 2 * SHARDS * PER_SHARD
    assert set(rows[0]) == {"file", "key", "found", "expected", "remedy"}
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == SAID + 1 and "--problems" in lines[-1]


# ---------------------------------------------------------------------- shards


def test_a_truncated_shard_is_found_and_the_others_are_read(root):
    file = shard_path(root, "video", 0)
    file.write_bytes(file.read_bytes()[:-100])
    spoil(shard_path(root, "video", 1), "vid_12", 1)
    assert told(root) == [("video_shard_000.hdf5", None), ("video_shard_001.hdf5", "vid_12")]


def test_a_missing_shard_is_found(root):
    shard_path(root, "sentence", 1).unlink()
    [problem] = verify(root)
    assert (problem.file.name, problem.key) == (
        "sentence_shard_001.hdf5",
        None,
    ) and "missing" in problem.found


def test_a_shard_of_another_encoder_says_what_differs(root):
    arrays = {f"vid_{i}": np.ones((FRAMES, WIDTH)) for i in range(10, 20)}
    write(shard_path(root, "video", 1), arrays, ENCODER | {"weights_sha256": "cd"})
    [problem] = verify(root)
    assert problem.file.name == "video_shard_001.hdf5"
    assert "weights_sha256: 'cd' instead of 'ab'" in problem.found


@pytest.mark.parametrize("damage", ["another shard's", "garbage", "missing"])
def test_an_index_that_does_not_belong_to_its_shard_is_found(root, damage):
    index = index_path(shard_path(root, "video", 1))
    if damage == "another shard's":
        shutil.copy(index_path(shard_path(root, "video", 0)), index)
    elif damage == "garbage":
        index.write_bytes(b"ARROW1" + bytes(500))
    else:
        index.unlink()
    [problem] = verify(root)
    assert problem.file.name == "video_shard_001.hdf5" and index.name in problem.found


@pytest.mark.parametrize("column", ["offset", "length", "checksum", "video"])
def test_an_index_with_a_wrong_number_is_found(root, column):
    file = index_path(shard_path(root, "video", 0))
    table = pa.ipc.open_file(file.read_bytes()).read_all()
    values = table[column].to_numpy().copy()
    values[4] = values[4] - 1 if column != "video" else 7
    place = table.column_names.index(column)
    table = table.set_column(
        place, table.schema.field(column), pa.array(values, table.schema.field(column).type)
    )
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table)
    assert verify(root)


def test_an_index_whose_numbers_are_of_another_format_is_found(root):
    file = index_path(shard_path(root, "video", 0))
    table = pa.ipc.open_file(file.read_bytes()).read_all()
    place = table.column_names.index("offset")
    same_bytes = pa.array(table["offset"].to_numpy().view(np.float64))
    table = table.set_column(place, "offset", same_bytes)
    with pa.ipc.new_file(str(file), table.schema) as writer:
        writer.write_table(table)
    [problem] = verify(root)
    assert "is damaged" in problem.found


def test_lengths_of_companions_are_compared(root):
    arrays = {f"vid_{i}": np.ones((FRAMES + (i == 15), 2, WIDTH)) for i in range(10, 20) if i != 17}
    write(shard_path(root, "token", 1), arrays)
    assert set(told(root)) == {("token_shard_001.hdf5", "vid_15"), ("token_shard_001.hdf5", "vid_17")}


@pytest.mark.parametrize("kind, emptied", [("token", [1]), ("sentence", [1]), ("sentence", [0, 1])])
def test_companions_that_are_gone_are_found(root, kind, emptied):
    for shard in emptied:
        write(shard_path(root, kind, shard), {})
    files = {file for file, _ in told(root)}
    assert files == {PATTERNS[kind] % shard for shard in emptied}


@pytest.mark.parametrize("kind, encoder", [("token", ENCODER), ("sentence", ENCODER | {"sentences": False})])
def test_companions_that_an_encoder_does_not_keep_are_not_missed(root, kind, encoder):
    for shard in range(SHARDS):
        write(shard_path(root, kind, shard), {}, encoder)
        if kind == "sentence":
            texts = dict(open_features(shard_path(root, "text", shard), "text"))
            write(shard_path(root, "text", shard), texts, encoder)
    change(root / "text_meta.json", encoder=encoder)
    assert told(root) == []


@pytest.mark.parametrize("shape, found", [((FRAMES, WIDTH + 1), [None]), ((0, WIDTH), ["vid_10", "vid_11"])])
def test_rows_of_another_width_and_none_at_all_are_found(root, shape, found):
    write(shard_path(root, "video", 1), {f"vid_{i}": np.ones(shape) for i in range(10, 20)})
    shutil.rmtree(root / FOLDERS["token"])
    assert told(root)[: len(found)] == [("video_shard_001.hdf5", key) for key in found]


def test_an_encoder_without_a_video_passes(tmp_path):
    write(shard_path(tmp_path, "video", 0), {})
    meta = {"pattern": PATTERNS["video"], "per_shard": PER_SHARD, "shards": 1, "total": 0}
    (tmp_path / "video_meta.json").write_text(json.dumps(meta))
    (tmp_path / "video_manifest.json").write_text("{}")
    assert told(tmp_path) == []


def test_keys_in_the_wrong_shard_are_found(root):
    write(shard_path(root, "video", 1), {f"vid_{i}": np.ones((FRAMES, WIDTH)) for i in range(9, 19)})
    assert ("video_shard_001.hdf5", "vid_9") in told(root)


# ---------------------------------------------------------------------- lists


def change(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes), encoding="utf-8")


def test_a_wrong_total_is_found(root):
    change(root / "text_meta.json", total=39)
    [problem] = verify(root)
    assert (problem.file.name, problem.found) == ("text_meta.json", "total 39")


@pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
def test_a_broken_meta_file_is_found(root, content):
    (root / "video_meta.json").write_text(content, encoding="utf-8", errors="surrogateescape")
    assert ("video_meta.json", None) in told(root)


def test_a_manifest_is_compared_key_by_key(root):
    file = root / "video_manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["vid_3"]
    manifest |= {"vid_12": manifest["vid_0"], "vid_99": manifest["vid_0"]}
    file.write_text(json.dumps(manifest))
    assert told(root) == [(file.name, key) for key in ("vid_3", "vid_12", "vid_99")]


def test_captions_without_features_are_found(root):
    rows = [(0, 0, "ko", "a"), (3, 7, "ko", "b"), (30, 0, "ko", "c")]
    write_captions(root, "test", rows)
    assert set(told(root)) == {
        ("captions_test.arrow", "vid_3#cap_7"),
        ("captions_test.arrow", "vid_30#cap_0"),
    }


def test_a_caption_file_that_lacks_a_line_is_found(root):
    file = root / FOLDERS["text"] / "말뭉치train.caption.txt"
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    file.write_text("".join(lines[:5] + lines[6:]), encoding="utf-8")
    [problem] = verify(root)
    assert (problem.file, problem.key) == (file, "vid_2#cap_1") and "line 6" in problem.found
    file.write_text("".join(lines[:-1]), encoding="utf-8")
    [problem] = verify(root)
    assert "ends before line 40" in problem.found
    file.write_text("".join(lines).replace("vid_3#cap_0 영상 하나", "vid_3#cap_0 영상 둘"), encoding="utf-8")
    [problem] = verify(root)
    assert problem.key == "vid_3#cap_0" and problem.found == "its line 7 has another text"


# ---------------------------------------------------------------------- features from elsewhere


def foreign(root, arrays):
    (root / FOLDERS["video"]).mkdir(parents=True)
    file = shard_path(root, "video", 0)
    with h5py.File(file, "w") as shard:
        for key, array in arrays.items():
            shard.create_dataset(key, data=array, chunks=(1, 4) if key == "조각" else None)
    return file


def test_shards_from_elsewhere_are_looked_through_for_nan_and_zeros(tmp_path):
    arrays = {name: np.ones((3, 4), np.float64) for name in ("조각", "b", "c", "d")}
    arrays["조각"][2, 3], arrays["c"][0, 0] = np.nan, np.inf
    arrays["d"][:] = 0
    foreign(tmp_path, arrays)
    assert set(told(tmp_path)) == {("video_shard_000.hdf5", key) for key in ("조각", "c", "d")}
    found = Found()
    read = check_values(open_all(tmp_path, found), None, np.random.default_rng(0), 1, found)
    assert (read.items, read.bytes, read.without_checksums) == (4, 4 * 96, 1)


def test_a_chunk_that_cannot_be_read_is_told_with_its_key(tmp_path):
    arrays = {name: np.ones((3, 4)) * number for number, name in enumerate("abc", 1)}
    file = shard_path(tmp_path, "video", 0)
    file.parent.mkdir()
    with h5py.File(file, "w") as shard:
        for key, array in arrays.items():
            shard.create_dataset(key, data=array, chunks=(3, 4), compression="gzip")
        place = shard["b"].id.get_chunk_info(0).byte_offset
    with file.open("r+b") as handle:
        handle.seek(place)
        handle.write(b"\xff" * 8)
    assert told(tmp_path) == [(file.name, "b")]


def test_a_folder_without_features_is_refused(tmp_path):
    with pytest.raises(UserError, match="no video features here"):
        open_all(tmp_path, Problems())
