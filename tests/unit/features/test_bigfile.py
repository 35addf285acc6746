"""The original GMMFormer's BigFile: read exactly, and refused with a sentence where it is wrong."""

import pickle
import random

import numpy as np
import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.reader import open_features

WIDTH = 5


def write(folder, frames, videos=None, order=None, encoding="utf-8"):
    """`frames`: id -> row; `videos`: id -> frame ids, or the text of its file; `order`: of the rows in the matrix."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = list(order or frames)
    rows = np.array([frames[id_] for id_ in ids], dtype="<f4").reshape(len(ids), WIDTH)
    (folder / "shape.txt").write_text(f"{len(ids)} {WIDTH}\n")
    (folder / "id.txt").write_bytes(" ".join(ids).encode(encoding))
    (folder / "feature.bin").write_bytes(rows.tobytes())
    text = videos if isinstance(videos, str) else repr(videos)
    (folder / "video2frames.txt").write_bytes(text.encode(encoding))
    return folder


def make(count=12, seed=0, name="video{}", frame="{}_{}"):
    """Frames by id and videos, of which one has none."""
    rng = np.random.default_rng(seed)
    lengths = [0, *rng.integers(1, 7, count - 1)]
    videos = {
        name.format(i): [frame.format(name.format(i), j) for j in range(n)] for i, n in enumerate(lengths)
    }
    return {id_: rng.standard_normal(WIDTH) for ids in videos.values() for id_ in ids}, videos


def same(reader, frames, videos):
    expected = {video: np.array([frames[id_] for id_ in ids], np.float32) for video, ids in videos.items()}
    assert sorted(reader) == sorted(videos) and len(reader) == len(videos)
    for video, rows in expected.items():
        array = reader[video]
        assert array.dtype == np.float32 and array.shape == (len(rows), WIDTH)
        assert np.array_equal(array, rows.reshape(-1, WIDTH)) and not array.flags.writeable


@pytest.mark.parametrize("shuffled", [False, True])
def test_every_video_has_its_frames(tmp_path, shuffled):
    frames, videos = make()
    order = random.Random(0).sample(list(frames), len(frames)) if shuffled else None
    write(tmp_path, frames, videos, order)
    same(open_features(tmp_path, "video"), frames, videos)


def test_a_pickled_reader_opens_it_anew(tmp_path):
    frames, videos = make()
    write(tmp_path, frames, videos)
    same(pickle.loads(pickle.dumps(open_features(tmp_path, "video"))), frames, videos)


def test_frames_in_one_run_are_not_copied_and_others_are(tmp_path):
    frames, videos = make()
    write(tmp_path, frames, videos)
    array = open_features(tmp_path, "video")["video3"]
    assert array.base is not None and not array.flags.owndata
    write(tmp_path, frames, {"backwards": videos["video3"][::-1], "again": [*videos["video3"], "video1_0"]})
    reader = open_features(tmp_path, "video")
    assert np.array_equal(reader["backwards"], array[::-1])
    assert np.array_equal(reader["again"][:-1], array)


def test_it_is_found_below_a_root(tmp_path):
    frames, videos = make(name="vid_{}")
    write(tmp_path / "FeatureData" / "i3d", frames, videos)
    reader = open_features(tmp_path, "video")
    same(reader, frames, videos)
    taken = reader.take(np.array([7, 0, 3]))
    assert all(map(np.array_equal, taken, (reader["vid_7"], reader["vid_0"], reader["vid_3"])))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "iso-8859-1"])
def test_ids_beyond_ascii(tmp_path, encoding):
    name = "vidéo à {}" if encoding == "iso-8859-1" else "한국 영상 à {}"  # bytes 0x85 and 0xa0 end no id
    frames, videos = make(name=name, frame="프레임{}_{}" if encoding != "iso-8859-1" else "caf\xe9{}_{}")
    frames = {id_.replace(" ", "·"): row for id_, row in frames.items()}
    videos = {video: [id_.replace(" ", "·") for id_ in ids] for video, ids in videos.items()}
    write(tmp_path, frames, videos, encoding=encoding)
    same(open_features(tmp_path, "video"), frames, videos)


@pytest.mark.parametrize(
    "text",
    [
        "{'a': ['f0', 'f1'], 'b': []}",
        '{"a":["f0","f1"],"b":[]}',
        "  {\n'a' : [ 'f0' ,\n 'f1' , ] ,\n 'b':[],\n}\n",
        "{u'a': [u'f0', U'f1'], u'b': []}",
        r"{'\x61': ['f\u0030', 'f1'], 'b': []}",
    ],
)
def test_any_way_to_write_the_dict(tmp_path, text):
    frames = {"f0": np.zeros(WIDTH), "f1": np.ones(WIDTH)}
    write(tmp_path, frames, text)
    same(open_features(tmp_path, "video"), frames, {"a": ["f0", "f1"], "b": []})


def test_ids_with_quotes_brackets_and_backslashes(tmp_path):
    ids = ["it's", 'say"so"', "a\\b", "x],", "{'v':", "'", '"', "u'"]
    frames = {id_: np.full(WIDTH, i) for i, id_ in enumerate(ids)}
    videos = {f"{id_}, [": [id_, *ids] for id_ in ids}
    write(tmp_path, frames, videos)
    same(open_features(tmp_path, "video"), frames, videos)


def test_no_video_at_all(tmp_path):
    write(tmp_path, {}, {})
    assert len(open_features(tmp_path, "video")) == 0


@pytest.mark.parametrize(
    "text, found",
    [
        ("__import__('os').abort()", "__import__"),
        ("{'a': __import__('os').abort()}", "character 1"),
        ("{'a': ['f0', open('x')]}", "character 1"),
        ("{'a': ['f0'}", "'a'"),
        ("{'a': ['f0'], 'b'", "'b'"),
        ("{'a': ['f0'],", "its end"),
        ("{'a': ['f0']} {}", "{}"),
        ("{'a': [1, 2]}", "1, 2"),
        ("{'a': 'f0'}", "'f0'"),
        ("{'a': ['f0' 'f1']}", "character 1"),
        (r"{'a': ['\xzz']}", "xzz"),
        (r"{'a': ['\ud800']}", "no text"),
        ("['a']", "character 0"),
        ("", "its end"),
        ("{" * 100_000, "character 1"),
    ],
)
def test_what_is_no_dict_of_texts_is_not_executed_and_named(tmp_path, text, found):
    write(tmp_path, {"f0": np.zeros(WIDTH), "f1": np.ones(WIDTH)}, text)
    with pytest.raises(UserError, match=r"video2frames\.txt: ") as error:
        open_features(tmp_path, "video")
    assert found in str(error.value) and "\n" not in str(error.value)


def shape(text):
    return lambda folder: (folder / "shape.txt").write_text(text)


def remove(name):
    return lambda folder: (folder / name).unlink()


def cut(folder):
    (folder / "feature.bin").write_bytes((folder / "feature.bin").read_bytes()[:-4])


@pytest.mark.parametrize(
    "damage, match",
    [
        (cut, r"feature\.bin: has 16 bytes, but .*shape\.txt says 1 rows of 5 float32, which are 20"),
        (shape("1 6\n"), r"feature\.bin: has 20 bytes.* which are 24"),
        (shape("2 5\n"), r"feature\.bin"),
        (shape("1\n"), r"shape\.txt.*'1'"),
        (shape("1 -5"), r"shape\.txt.*'1 -5'"),
        (shape("9" * 5000), r"shape\.txt"),
        (shape(""), r"shape\.txt"),
        (remove("id.txt"), r"id\.txt: cannot be read"),
        (remove("shape.txt"), r"shape\.txt: cannot be read"),
        (remove("feature.bin"), r"feature\.bin: there is no such file"),
        (remove("video2frames.txt"), r"video2frames\.txt: cannot be read"),
        (lambda folder: (folder / "id.txt").write_text("f0 f1"), r"id\.txt: has 2 frame ids, .* 1 rows"),
        (lambda folder: (folder / "id.txt").write_text(" \n"), r"id\.txt: has 0 frame ids"),
        (lambda folder: (folder / "id.txt").write_text("other"), r"frame f0 of video a is not in .*id\.txt"),
    ],
)
def test_wrong_files_are_named(tmp_path, damage, match):
    folder = write(tmp_path / "vis", {"f0": np.zeros(WIDTH)}, {"a": ["f0"]})
    damage(folder)
    with pytest.raises(UserError, match=match):
        open_features(folder, "video")


def test_ids_that_are_there_twice_are_named(tmp_path):
    frames = {"f0": np.zeros(WIDTH), "f1": np.ones(WIDTH)}
    write(tmp_path, frames, {"a": ["f0"]}, order=["f0", "f1", "f0"])
    with pytest.raises(UserError, match=r"id\.txt: frame id f0 is there twice"):
        open_features(tmp_path, "video")
    write(tmp_path, frames, "{'a': ['f0'], 'b': [], 'a': ['f1']}")
    with pytest.raises(UserError, match=r"video2frames\.txt: video a is there twice"):
        open_features(tmp_path, "video")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_video_that_is_not_finite_is_named_and_others_are_read(tmp_path, bad):
    frames, videos = make()
    frames[videos["video4"][0]][2] = bad
    write(tmp_path, frames, videos)
    reader = open_features(tmp_path, "video")
    with pytest.raises(UserError, match=r"feature\.bin: key video4 has NaN"):
        reader["video4"]
    assert np.isfinite(reader["video5"]).all()


def test_a_missing_video_is_named_with_the_folder(tmp_path):
    write(tmp_path / "vis", *make())
    with pytest.raises(UserError, match=r"vis: no video feature with the key 'video99'"):
        open_features(tmp_path / "vis", "video")["video99"]


def test_whitespace_of_any_kind_parts_ids(tmp_path):
    frames = {f"f{i}": np.full(WIDTH, i) for i in range(5)}
    write(tmp_path, frames, {"a": list(frames)})
    (tmp_path / "id.txt").write_text("\n f0\tf1  f2\r\nf3\n\n\nf4 \n")
    same(open_features(tmp_path, "video"), frames, {"a": list(frames)})
