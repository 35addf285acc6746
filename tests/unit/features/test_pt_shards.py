"""Features from torch files: what belongs together, what is not taken, and that nothing is changed on the way."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from workflow_scripts.lib.corpus.tables import CAPTIONS, VIDEOS, read_rows
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.imports import pt_shards
from workflow_scripts.lib.features.imports.run import Import, import_features
from workflow_scripts.lib.features.layout import FOLDERS
from workflow_scripts.lib.features.reader import open_features

WIDTH = 8


def values(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


def save(folder, **files):
    """`train_text_0=...` becomes a file."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        torch.save(content, folder / f"{name}.pt")
    return folder


def run(folder, videos_per_shard=2, captions=None, name="웹비드", dtype="float32", language="en"):
    """Import `folder`/source: its features and tables, and what was not taken as (kind, file, item, count)."""
    job = Import(
        format="webvid_pt",
        source=folder / "source",
        name=name,
        videos_per_shard=videos_per_shard,
        captions=captions,
        language=language,
        dtype=dtype,
    )
    root, corpus = folder / "features", folder / "corpus"
    import_features(job, root, corpus)
    shards = json.loads((root / "video_meta.json").read_text())["shards"]
    rows = [json.loads(line) for line in (root / "not_taken.jsonl").read_text().splitlines()]
    return {
        "root": root,
        "videos": list(read_rows(corpus, "videos", shards)),
        "captions": list(read_rows(corpus, "captions", shards)),
        "not_taken": [(r["kind"], Path(r["file"]).name, r["item"], r["count"]) for r in rows],
    }


def features(found, kind):
    """All arrays, read by our reader; plain h5py gives the same."""
    reader = open_features(found["root"], kind)
    arrays = {key: np.array(reader[key]) for key in reader}
    for file in (found["root"] / FOLDERS[kind]).glob("*.hdf5"):
        with h5py.File(file) as shard:
            assert all(np.array_equal(shard[key][()], arrays[key]) for key in shard)
    return arrays


def test_rows_without_an_index_come_back_equal(tmp_path):
    texts, videos, test_texts, test_videos = (
        values(5, WIDTH), values(5, 3, WIDTH, seed=1), values(2, WIDTH, seed=2), values(2, 4, WIDTH, seed=3),
    )  # fmt: skip
    save(tmp_path / "source", train_text_0=texts, train_video_0=videos)
    save(tmp_path / "source", test_text_0=test_texts, test_video_0=test_videos)
    found = run(tmp_path)
    assert found["not_taken"] == []
    # one numbering of all splits: nothing is written over, and totals tell them apart
    assert [(row["index"], row["split"]) for row in found["videos"]] == [
        *((i, "train") for i in range(5)),
        *((i, "test") for i in range(5, 7)),
    ]
    assert [row["id"] for row in found["videos"]][4:] == ["train_0_4", "test_0_0", "test_0_1"]
    meta = json.loads((found["root"] / "video_meta.json").read_text())
    assert (meta["total"], meta["splits"], meta["shards"]) == (7, {"train": 5, "val": 0, "test": 2}, 4)
    frames, sentences, tokens = (features(found, kind) for kind in ("video", "sentence", "text"))
    for i, (text, video) in enumerate([*zip(texts, videos), *zip(test_texts, test_videos)]):  # noqa: B905
        assert np.array_equal(frames[f"vid_{i}"], video.numpy())
        assert np.array_equal(sentences[f"vid_{i}#cap_0"], text[None].numpy())
        assert np.array_equal(tokens[f"vid_{i}#cap_0"], text[None].numpy())


def test_tables_have_the_schemas_and_shards_say_what_made_them(tmp_path):
    save(tmp_path / "source", train_text_0=values(3, WIDTH), train_video_0=values(3, 2, WIDTH))
    found = run(tmp_path)
    for table, schema in (("videos", VIDEOS), ("captions", CAPTIONS)):
        assert pq.read_schema(tmp_path / "corpus" / f"{table}_001.parquet").equals(schema)
    assert {row["path"] for row in found["videos"]} == {"train_0_0", "train_0_1", "train_0_2"}
    assert all(row["source"] == row["path"] and row["start_s"] is None for row in found["videos"])
    encoder = json.loads(open_features(found["root"], "video").encoder)
    assert (encoder["kind"], encoder["format"], encoder["source"]) == ("imported", "webvid_pt", "source")
    with h5py.File(found["root"] / "FeatureData" / "video_shard_000.hdf5") as shard:
        assert len(shard.attrs["digest"]) == 64


@pytest.mark.parametrize("columns", [2, 4])
def test_index_decides_what_belongs_together(tmp_path, columns):
    texts, videos = values(4, WIDTH), values(3, 2, WIDTH, seed=1)
    pairs = [[3, 0], [0, 2], [1, 2], [9, 0], [0, -1], [3, 0]]
    index = torch.tensor([pair + [7] * (columns - 2) for pair in pairs])
    save(tmp_path / "source", val_text_12=texts, val_video_12=videos, val_index_12=index)
    found = run(tmp_path)
    assert [row["id"] for row in found["videos"]] == ["val_12_0", "val_12_2"]
    assert [row["key"] for row in found["captions"]] == ["vid_0#cap_0", "vid_1#cap_0", "vid_1#cap_1"]
    sentences, frames = features(found, "sentence"), features(found, "video")
    assert np.array_equal(frames["vid_1"], videos[2].numpy())
    for key, row in (("vid_0#cap_0", 3), ("vid_1#cap_0", 0), ("vid_1#cap_1", 1)):
        assert np.array_equal(sentences[key][0], texts[row].numpy())
    assert found["not_taken"] == [
        ("bad_index", "val_index_12.pt", "row 3", 1),
        ("bad_index", "val_index_12.pt", "row 4", 1),
        ("bad_index", "val_index_12.pt", "row 5", 1),
        ("text_without_video", "val_text_12.pt", "row 2", 1),
        ("video_without_text", "val_video_12.pt", "row 1", 1),
    ]


def test_ids_come_back_equal(tmp_path):
    texts = {"가": values(WIDTH), 17: values(1, WIDTH, seed=1), "alone": values(WIDTH)}
    videos = {17: values(2, WIDTH, seed=2), "가": values(5, WIDTH, seed=3), "silent": values(1, WIDTH)}
    save(tmp_path / "source", train_text_0=texts, train_video_0=videos)
    found = run(tmp_path)
    assert [(row["id"], row["path"]) for row in found["videos"]] == [("17", "17"), ("가", "가")]
    frames, sentences = features(found, "video"), features(found, "sentence")
    assert np.array_equal(frames["vid_0"], videos[17].numpy())
    assert np.array_equal(frames["vid_1"], videos["가"].numpy())
    assert np.array_equal(sentences["vid_0#cap_0"], texts[17].numpy())
    assert np.array_equal(sentences["vid_1#cap_0"][0], texts["가"].numpy())
    assert found["not_taken"] == [
        ("text_without_video", "train_text_0.pt", "alone", 1),
        ("video_without_text", "train_video_0.pt", "silent", 1),
    ]


def test_parts_are_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9):
        save(
            tmp_path / "source",
            **{
                f"train_text_{number}": {f"v{number}": values(WIDTH)},
                f"train_video_{number}": {f"v{number}": values(1, WIDTH)},
            },
        )
    assert [row["id"] for row in run(tmp_path)["videos"]] == ["v9", "v10"]


def test_an_id_of_two_splits_stays_two_videos(tmp_path, capsys):
    for i, split in enumerate(("train", "test")):
        save(
            tmp_path / "source",
            **{
                f"{split}_text_0": {"vid_0": values(WIDTH, seed=i)},
                f"{split}_video_0": {"vid_0": values(2, WIDTH, seed=i + 5)},
            },
        )
    found = run(tmp_path)
    assert [(row["id"], row["source"]) for row in found["videos"]] == [
        ("vid_0", "vid_0"),
        ("test/vid_0", "vid_0"),
    ]
    assert np.array_equal(features(found, "video")["vid_1"], values(2, WIDTH, seed=6).numpy())
    assert "1 ids are in several splits" in capsys.readouterr().out


def test_an_id_that_comes_back_is_not_taken(tmp_path):
    for part in range(2):
        save(
            tmp_path / "source",
            **{
                f"train_text_{part}": {"a": values(WIDTH)},
                f"train_video_{part}": {"a": values(2, WIDTH, seed=part)},
            },
        )
    found = run(tmp_path)
    assert np.array_equal(features(found, "video")["vid_0"], values(2, WIDTH).numpy())
    assert found["not_taken"] == [
        ("bad_id", "train_video_1.pt", "a", 1),
        ("text_without_video", "train_text_1.pt", "a", 1),
    ]


NAN = values(2, WIDTH)
NAN[1, 3] = float("nan")


@pytest.mark.parametrize(
    ("text", "video", "kinds"),
    [
        (values(WIDTH), NAN, ["not_finite", "text_without_video"]),
        (NAN[1], values(2, WIDTH), ["not_finite", "video_without_text"]),
        (values(WIDTH), values(WIDTH), ["shape", "text_without_video"]),
        (values(WIDTH), values(0, WIDTH), ["shape", "text_without_video"]),
        (values(WIDTH), values(2, WIDTH + 1), ["shape", "text_without_video"]),
        (values(WIDTH), values(2, WIDTH).to(torch.float8_e5m2), []),
        (values(WIDTH).double() * 1e200, values(2, WIDTH), ["not_finite", "video_without_text"]),
        (values(WIDTH + 1), values(2, WIDTH), ["shape", "video_without_text"]),
        (values(3, WIDTH), values(2, WIDTH), ["shape", "video_without_text"]),
        (values(WIDTH), torch.ones(2, WIDTH, dtype=torch.int64), ["shape", "text_without_video"]),
        (values(WIDTH), "no tensor", ["shape", "text_without_video"]),
    ],
)
def test_what_cannot_be_taken_is_listed_and_hides_no_other(tmp_path, text, video, kinds):
    texts = {"good": values(WIDTH), "bad": text, "also good": values(WIDTH)}
    videos = {"good": values(2, WIDTH), "bad": video, "also good": values(1, WIDTH)}
    save(tmp_path / "source", train_text_0=texts, train_video_0=videos)
    found = run(tmp_path)
    assert [row["id"] for row in found["videos"]] == ["good", *([] if kinds else ["bad"]), "also good"]
    assert [(kind, item) for kind, _, item, _ in found["not_taken"]] == [(kind, "bad") for kind in kinds]


def test_a_bad_text_leaves_the_others_of_its_video(tmp_path):
    texts = torch.stack([NAN[1], NAN[0]])
    index = torch.tensor([[0, 0], [1, 0]])
    save(tmp_path / "source", train_text_0=texts, train_video_0=values(1, 2, WIDTH), train_index_0=index)
    found = run(tmp_path)
    assert np.array_equal(features(found, "sentence")["vid_0#cap_0"][0], NAN[0].numpy())
    assert found["not_taken"] == [("not_finite", "train_text_0.pt", "row 0", 1)]


def test_parts_that_cannot_be_paired_are_counted(tmp_path):
    good = {"train_text_0": values(1, WIDTH), "train_video_0": values(1, 2, WIDTH)}
    save(
        tmp_path / "source",
        **good,
        train_text_1=values(3, WIDTH),
        train_text_2=values(3, WIDTH),
        train_video_2=values(2, 2, WIDTH),  # no index
        train_text_3={"a": values(WIDTH)},
        train_video_3=values(2, 2, WIDTH),
        train_text_4=values(1, WIDTH),
        train_video_4=values(1, 2, WIDTH),
        train_index_4=torch.tensor([[0.0, 0.0]]),
        train_index_5=torch.tensor([[0, 0]]),
        features=values(1),
    )
    found = run(tmp_path)
    assert [row["id"] for row in found["videos"]] == ["train_0_0"]
    assert found["not_taken"] == [
        ("unknown_file", "features.pt", "file", 1),
        ("text_without_video", "train_text_1.pt", "all", 3),
        ("text_without_video", "train_text_2.pt", "all", 3),
        ("video_without_text", "train_video_2.pt", "all", 2),
        ("text_without_video", "train_text_3.pt", "all", 1),
        ("video_without_text", "train_video_3.pt", "all", 2),
        ("text_without_video", "train_text_4.pt", "all", 1),
        ("video_without_text", "train_video_4.pt", "all", 1),
        ("bad_index", "train_index_5.pt", "all", 1),
    ]


@pytest.mark.parametrize(
    ("source", "dtype", "stored"),
    [
        (torch.float16, "float32", np.float32),
        (torch.bfloat16, "float32", np.float32),
        (torch.float16, "float16", np.float16),
    ],
)
def test_smaller_number_formats_come_back_equal(tmp_path, source, dtype, stored):
    texts, videos = values(2, WIDTH).to(source), values(2, 3, WIDTH).to(source)
    save(tmp_path / "source", train_text_0=texts, train_video_0=videos)
    frames = features(run(tmp_path, dtype=dtype), "video")
    assert frames["vid_1"].dtype == stored
    assert np.array_equal(frames["vid_1"], videos[1].float().numpy())


def test_values_that_do_not_fit_are_not_taken(tmp_path):
    save(tmp_path / "source", train_text_0=values(2, WIDTH))
    videos = values(2, 3, WIDTH)
    videos[1, 0, 0] = 70_000
    save(tmp_path / "source", train_video_0=videos)
    found = run(tmp_path, dtype="float16")
    assert [row["id"] for row in found["videos"]] == ["train_0_0"]
    assert ("not_finite", "train_video_0.pt", "train_0_1", 1) in found["not_taken"]


def test_texts_of_captions_by_id(tmp_path, capsys):
    ids = ["7", "8", "9"]
    texts, videos = {i: values(WIDTH) for i in ids}, {i: values(2, WIDTH) for i in ids}
    save(tmp_path / "source", train_text_0=texts, train_video_0=videos)
    captions = tmp_path / "captions.csv"
    captions.write_text('videoid,name\n9,"새가, 난다"\n7,A  dog\n9,again\n5,nobody\n', encoding="utf-8")
    found = run(tmp_path, captions=captions, language="ko")
    assert [row["text"] for row in found["captions"]] == ["A dog", "", "새가, 난다"]
    assert {row["language"] for row in found["captions"]} == {"ko"}
    lines = (found["root"] / "TextData" / "웹비드train.caption.txt").read_text(encoding="utf-8").splitlines()
    assert lines == ["vid_0#cap_0 A dog", "vid_1#cap_0 ", "vid_2#cap_0 새가, 난다"]
    said = capsys.readouterr().out
    assert "3 captions; 1 whose id was there before" in said
    assert "1 captions have an empty text" in said


def test_captions_of_other_videos_are_refused(tmp_path):
    save(tmp_path / "source", train_text_0=values(1, WIDTH), train_video_0=values(1, 2, WIDTH))
    captions = tmp_path / "captions.csv"
    captions.write_text("videoid,name\n9,x\n")
    with pytest.raises(UserError, match=r"no imported video; the first of them is 'train_0_0'"):
        run(tmp_path, captions=captions)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["captions.csv", "source"]


class Code:
    """Touches a file when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("archive", [True, False])
def test_code_is_refused_by_name_and_not_run(tmp_path, archive):
    save(tmp_path / "source", train_text_0={"a": values(WIDTH)}, train_video_0={"a": values(1, WIDTH)})
    bad = tmp_path / "source" / "train_video_1.pt"
    torch.save({"a": Code(tmp_path / "ran")}, bad, _use_new_zipfile_serialization=archive)
    with pytest.raises(UserError, match=rf"{bad}: holds something other than tensors \((posix|nt)\.system\)"):
        run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "source"
    ]  # nothing ran, nothing is half-written


@pytest.mark.parametrize("content", [b"", b"hello there", b"PK\x03\x04 no archive"])
def test_a_broken_file_is_refused_by_name(tmp_path, content):
    save(tmp_path / "source", train_text_0=values(1, WIDTH))
    (tmp_path / "source" / "train_video_0.pt").write_bytes(content)
    with pytest.raises(UserError, match=r"train_video_0\.pt"):
        run(tmp_path)


def test_an_older_torch_file_is_read(tmp_path):
    save(tmp_path / "source", train_text_0=values(1, WIDTH))
    file = tmp_path / "source" / "train_video_0.pt"
    torch.save(values(1, 2, WIDTH), file, _use_new_zipfile_serialization=False)
    assert np.array_equal(features(run(tmp_path), "video")["vid_0"], values(1, 2, WIDTH)[0].numpy())


def own_memory():
    """Bytes of this process that are no mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the process's memory")
def test_memory_does_not_grow_with_the_parts(tmp_path, monkeypatch):
    videos, frames, width, parts = 20, 200, 512, 8
    for part in range(parts):
        text, video = torch.rand(videos, width).half(), torch.rand(videos, frames, width).half()
        save(tmp_path / "source", **{f"train_text_{part}": text, f"train_video_{part}": video})
    used, load = [], pt_shards._load
    monkeypatch.setattr(pt_shards, "_load", lambda file: used.append(own_memory()) or load(file))
    assert len(run(tmp_path, videos_per_shard=videos)["videos"]) == videos * parts
    a_part = videos * frames * width * 4
    assert used[-1] - used[4] < 2 * a_part  # from the third part to the last one
