"""Data roots of the original GMMFormer code for tests, and a reader of them that is as the original's: a seek a frame."""

import ast
from pathlib import Path

import h5py
import numpy as np

VIDEOS = {"나비": 3, "b-2": 1, "c": 6}
CAPTIONS = {
    "train": [("나비#enc#0", "노란 나비"), ("b-2#0", "a dog"), ("나비#enc#1", "a butterfly")],
    "val": [("c#0", "one"), ("c#1", "two")],
    "test": [("c#0", "one"), ("c#1", "two")],
}
WIDTH, TEXT_WIDTH = 4, 3


def write_root(root, layout, videos=VIDEOS, captions=CAPTIONS, visual="vis", dtype="f4"):
    """Frames by number, in shuffled rows; texts as long as their captions. Returns the arrays by id."""
    random = np.random.default_rng(0)
    frames = {id_: random.standard_normal((count, WIDTH)).astype(dtype) for id_, count in videos.items()}
    texts = {
        id_: random.standard_normal((1 + len(text.split()), TEXT_WIDTH)).astype("f4")
        for lines in captions.values()
        for id_, text in lines
    }
    write_frames(root, layout, frames, visual)
    folder = Path(root) / "TextData"
    folder.mkdir()
    with h5py.File(folder / "roberta_mini_query_feat.hdf5", "w") as file:
        for id_, array in texts.items():
            file[id_] = array
    for split, lines in captions.items():
        content = "".join(f"{id_} {text}\n" for id_, text in lines)
        (folder / f"mini{split}.caption.txt").write_text(content, encoding="utf-8")
    return frames, texts


def write_frames(root, layout, frames, visual="vis"):
    folder = Path(root) / "FeatureData" / visual
    folder.mkdir(parents=True)
    if layout == "hdf5":
        with h5py.File(folder / "feature.hdf5", "w") as file:
            for id_, array in frames.items():
                file[id_] = array
        return
    rows = [
        (f"f{number}_{t}", row) for number, array in enumerate(frames.values()) for t, row in enumerate(array)
    ]
    np.random.default_rng(1).shuffle(order := np.arange(len(rows)))
    (folder / "shape.txt").write_text(f"{len(rows)} {WIDTH}\n")
    (folder / "id.txt").write_text(" ".join(rows[i][0] for i in order), encoding="ISO-8859-1")
    np.stack([rows[i][1] for i in order]).astype("<f4").tofile(folder / "feature.bin")
    of = {
        id_: [f"f{number}_{t}" for t in range(len(array))]
        for number, (id_, array) in enumerate(frames.items())
    }
    (folder / "video2frames.txt").write_text(str(of), encoding="utf-8")


def read_as_the_original(root, collection, visual):
    """Frames of every video, features of every caption, and the captions of every split, as the original finds them."""
    folder, texts = Path(root) / "FeatureData" / visual, Path(root) / "TextData"
    captions = {}
    for split in ("train", "val", "test"):
        with (texts / f"{collection}{split}.caption.txt").open(encoding="utf-8") as lines:
            captions[split] = [tuple(line.strip().split(" ", 1)) for line in lines]
    assert all(len(line) == 2 for lines in captions.values() for line in lines)
    if (folder / "feature.hdf5").is_file():
        with h5py.File(folder / "feature.hdf5") as file:
            frames = {id_: file[id_][()] for id_ in file}
    else:
        frames = read_bigfile(folder)
    with h5py.File(texts / f"roberta_{collection}_query_feat.hdf5") as file:
        features = {id_: file[id_][()] for id_ in file}
    return frames, features, captions


def read_bigfile(folder):
    """Open, seek and read for each frame."""
    count, width = map(int, (folder / "shape.txt").read_text().splitlines()[0].split())
    ids = (folder / "id.txt").read_text(encoding="ISO-8859-1").strip().split()
    assert len(ids) == len(set(ids)) == count
    row_of = {id_: row for row, id_ in enumerate(ids)}
    videos = {}
    for video, its_frames in ast.literal_eval((folder / "video2frames.txt").read_text()).items():
        videos[video] = np.empty((len(its_frames), width), "f4")
        for t, frame in enumerate(its_frames):
            with (folder / "feature.bin").open("rb") as matrix:
                matrix.seek(row_of[frame] * width * 4)
                videos[video][t] = np.frombuffer(matrix.read(width * 4), "<f4")
    return videos
