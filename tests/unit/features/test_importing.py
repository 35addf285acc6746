"""Features of the original GMMFormer layout, and what holds of every import: places, numbers, kills."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.unit.features.gmmformer_roots import CAPTIONS, TEXT_WIDTH, VIDEOS, WIDTH, write_frames, write_root
from workflow_scripts.lib.corpus.tables import read_rows
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.imports import places as import_places
from workflow_scripts.lib.features.imports.run import Import, import_features
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter

LAYOUTS = ["bigfile", "hdf5"]


def run(folder, layout, videos_per_shard=2, **settings):
    """Import `folder`/source: its tables, and what was not taken as (kind, file, item, count)."""
    job = Import(layout, folder / "source", "웹비드", videos_per_shard, **settings)
    root, corpus = folder / "features", folder / "corpus"
    import_features(job, root, corpus)
    shards = json.loads((root / "video_meta.json").read_text())["shards"]
    rows = [json.loads(line) for line in (root / "not_taken.jsonl").read_text().splitlines()]
    return {
        "root": root,
        "shards": shards,
        "videos": list(read_rows(corpus, "videos", shards)),
        "captions": list(read_rows(corpus, "captions", shards)),
        "not_taken": [(r["kind"], Path(r["file"]).name, r["item"], r["count"]) for r in rows],
    }


def arrays(found, kind):
    reader = open_features(found["root"], kind)
    return {key: np.array(reader[key]) for key in reader}


def write_pt(folder, videos=5, **more):
    (folder / "source").mkdir(parents=True, exist_ok=True)
    random = torch.Generator().manual_seed(0)
    files = {"train_text_0": (videos, 8), "train_video_0": (videos, 3, 8), **more}
    for name, shape in files.items():
        torch.save(torch.randn(shape, generator=random), folder / "source" / f"{name}.pt")


# What comes in


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_data_root_comes_in_exactly(tmp_path, layout, capsys):
    frames, texts = write_root(tmp_path / "source", layout)
    found = run(tmp_path, layout, language="ko")
    assert found["not_taken"] == []
    # in the order of the first captions; the video of val and test is one of each
    assert [(row["index"], row["source"], row["id"], row["split"]) for row in found["videos"]] == [
        (0, "나비", "나비", "train"),
        (1, "b-2", "b-2", "train"),
        (2, "c", "c", "val"),
        (3, "c", "test/c", "test"),
    ]
    assert "1 ids are in several splits" in capsys.readouterr().out
    source_of = {f"vid_{row['index']}": row["source"] for row in found["videos"]}
    videos = arrays(found, "video")
    assert {key: source_of[key] for key in videos} == source_of
    assert all(np.array_equal(array, frames[source_of[key]]) for key, array in videos.items())
    ids = ["나비#enc#0", "나비#enc#1", "b-2#0", "c#0", "c#1", "c#0", "c#1"]
    told = dict(line for lines in CAPTIONS.values() for line in lines)
    assert [row["text"] for row in found["captions"]] == [told[id_] for id_ in ids]
    assert {row["language"] for row in found["captions"]} == {"ko"}
    words = arrays(found, "text")
    for row, id_ in zip(found["captions"], ids, strict=True):
        assert np.array_equal(words[row["key"]], texts[id_])
    assert words["vid_0#cap_0"].shape == (3, TEXT_WIDTH)
    assert arrays(found, "sentence") == {}  # nothing is known of captions in the frames' space
    assert json.loads(open_features(found["root"], "text").encoder)["sentences"] is False


def test_float64_is_taken_and_what_is_lost_is_said(tmp_path, capsys):
    frames, _ = write_root(tmp_path / "source", "hdf5", dtype="f8")
    videos = arrays(run(tmp_path, "hdf5"), "video")
    assert np.array_equal(videos["vid_0"], frames["나비"].astype("f4"))
    assert "4 arrays have values that float32 rounds" in capsys.readouterr().out


def edit_hdf5(file, **changes):
    with h5py.File(file, "r+") as datasets:
        for key, array in changes.items():
            if key in datasets:
                del datasets[key]
            if array is not None:
                datasets[key] = array


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_has_no_counterpart_is_listed(tmp_path, layout):
    captions = {"train": [("a#0", "text"), ("b#0", "text"), ("b#1", "text"), ("gone#0", "text")]}
    write_root(tmp_path / "source", layout, {"a": 2, "b": 2, "silent": 1}, captions)
    texts = tmp_path / "source" / "TextData" / "roberta_mini_query_feat.hdf5"
    edit_hdf5(texts, **{"a#0": None, "b#1": None, "nobody#0": np.ones((1, TEXT_WIDTH), "f4")})
    found = run(tmp_path, layout)
    assert [(row["source"], row["split"]) for row in found["videos"]] == [("b", "train")]
    visual = "vis" if layout == "bigfile" else "feature.hdf5"
    assert sorted(found["not_taken"]) == [
        ("caption_without_features", "minitrain.caption.txt", "a#0", 1),
        ("caption_without_features", "minitrain.caption.txt", "b#1", 1),
        ("features_without_caption", texts.name, "nobody#0", 1),
        ("text_without_video", "minitrain.caption.txt", "gone#0", 1),
        ("video_without_text", visual, "a", 1),
        ("video_without_text", visual, "silent", 1),
    ]


NAN = np.full((1, WIDTH), np.nan, "f4")


@pytest.mark.parametrize(
    ("frames", "text", "kinds"),
    [
        (NAN, None, ["not_finite", "text_without_video"]),
        (np.ones((2, WIDTH), "f8") * 1e300, None, ["not_finite", "text_without_video"]),
        (np.ones((2, WIDTH + 1), "f4"), None, ["shape", "text_without_video"]),
        (np.ones(WIDTH, "f4"), None, ["shape", "text_without_video"]),
        (np.ones((0, WIDTH), "f4"), None, ["shape", "text_without_video"]),
        (np.ones((2, WIDTH), "i4"), None, ["shape", "text_without_video"]),
        (None, NAN[:, :TEXT_WIDTH], ["not_finite", "video_without_text"]),
        (None, np.ones((2, TEXT_WIDTH + 1), "f4"), ["shape", "video_without_text"]),
    ],
)
def test_what_cannot_be_taken_hides_no_other(tmp_path, frames, text, kinds):
    captions = {"train": [(f"{id_}#0", "text") for id_ in "abc"]}
    write_root(tmp_path / "source", "hdf5", dict.fromkeys("abc", 2), captions)
    if frames is not None:
        edit_hdf5(tmp_path / "source" / "FeatureData" / "vis" / "feature.hdf5", b=frames)
    if text is not None:
        edit_hdf5(tmp_path / "source" / "TextData" / "roberta_mini_query_feat.hdf5", **{"b#0": text})
    found = run(tmp_path, "hdf5")
    assert [row["id"] for row in found["videos"]] == ["a", "c"]
    assert [kind for kind, *_ in found["not_taken"]] == kinds


def test_a_bigfile_with_nan(tmp_path):
    write_root(tmp_path / "source", "bigfile")
    file = tmp_path / "source" / "FeatureData" / "vis" / "feature.bin"
    matrix = np.fromfile(file, "<f4")
    np.where(np.arange(len(matrix)) == 5, np.nan, matrix).astype("<f4").tofile(file)
    found = run(tmp_path, "bigfile")
    assert found["not_taken"][0][:2] == ("not_finite", "vis")
    assert {row["source"] for row in found["videos"]} | {found["not_taken"][0][2]} == set(VIDEOS)


def test_features_that_cannot_be_read(tmp_path):
    """A chunk that is damaged: the checksum tells."""
    write_root(tmp_path / "source", "hdf5")
    file = tmp_path / "source" / "FeatureData" / "vis" / "feature.hdf5"
    with h5py.File(file, "r+") as datasets:
        del datasets["c"]
        array = np.arange(6 * WIDTH, dtype="f4").reshape(6, WIDTH)
        chunked = datasets.create_dataset("c", data=array, chunks=(6, WIDTH), fletcher32=True)
        datasets.flush()
        place = chunked.id.get_chunk_info(0).byte_offset
    with file.open("r+b") as content:
        content.seek(place)
        content.write(b"damage")
    found = run(tmp_path, "hdf5")
    assert {row["source"] for row in found["videos"]} == {"나비", "b-2"}
    assert found["not_taken"][:2] == [
        ("unreadable", "feature.hdf5", "c", 1),
        ("text_without_video", "minival.caption.txt", "c#0", 1),
    ]


def test_the_list_is_readable_and_where_it_is_told_to_be(tmp_path, capsys):
    write_root(tmp_path / "source", "hdf5", {"나비": 2, "새": 1}, {"train": [("나비#0", "text")]})
    with h5py.File(tmp_path / "source" / "FeatureData" / "vis" / "feature.hdf5", "r+") as datasets:
        datasets.create_dataset(b"bad\xff", data=np.ones((1, WIDTH), "f4"))
    assert {item for *_, item, _ in run(tmp_path, "hdf5")["not_taken"]} == {"새", "bad\udcff"}
    told = capsys.readouterr().out.splitlines()[-1].partition(": ")[0]
    assert '"새"' in Path(told).read_text(encoding="utf-8")


def test_lines_of_caption_files(tmp_path):
    write_root(tmp_path / "source", "bigfile")
    file = tmp_path / "source" / "TextData" / "minitrain.caption.txt"
    file.write_bytes("\ufeff나비#enc#0  노란\u3000 나비\r\n\nb-2#0 \nb-2#0 again\n".encode() + b"c\xff x\n")
    found = run(tmp_path, "bigfile")
    its_texts = [(row["key"], row["text"]) for row in found["captions"] if row["split"] == "train"]
    assert its_texts == [("vid_0#cap_0", "노란 나비"), ("vid_1#cap_0", "")]
    assert found["not_taken"] == [
        ("bad_line", "minitrain.caption.txt", "line 2", 1),
        ("bad_id", "minitrain.caption.txt", "b-2#0", 1),
        ("bad_line", "minitrain.caption.txt", "line 5", 1),
        ("features_without_caption", "roberta_mini_query_feat.hdf5", "나비#enc#1", 1),
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_one_of_several_features_is_named(tmp_path, layout):
    write_root(tmp_path / "source", layout)
    write_frames(tmp_path / "source", layout, {id_: np.ones((1, WIDTH), "f4") for id_ in VIDEOS}, "other")
    with pytest.raises(UserError, match=r"holds several features, other.*, vis.*--visual NAME"):
        run(tmp_path, layout)
    with pytest.raises(UserError, match=r"--visual none is the name of 0 features of other"):
        run(tmp_path, layout, visual="none")
    assert len(arrays(run(tmp_path, layout, visual="other"), "video")["vid_0"]) == 1


def test_one_of_several_text_features_is_named(tmp_path):
    write_root(tmp_path / "source", "hdf5")
    with h5py.File(tmp_path / "source" / "TextData" / "clip_query_feat.hdf5", "w") as file:
        for id_ in dict(line for lines in CAPTIONS.values() for line in lines):
            file[id_] = np.ones((1, 2), "f4")
    with pytest.raises(
        UserError, match=r"clip_query_feat\.hdf5, roberta_mini_query_feat\.hdf5.*--queries NAME"
    ):
        run(tmp_path, "hdf5")
    assert arrays(run(tmp_path, "hdf5", queries="clip_query_feat.hdf5"), "text")["vid_0#cap_0"].shape == (
        1,
        2,
    )


# Numbers


def test_the_pipelines_own_numbers_are_kept_with_gaps(tmp_path):
    captions = {
        "train": [("vid_7#cap_1", "b"), ("vid_1#cap_0", "a"), ("vid_7#cap_0", "c")],
        "test": [("vid_6#cap_2", "d")],
    }
    frames, texts = write_root(tmp_path / "source", "bigfile", {"vid_7": 2, "vid_1": 1, "vid_6": 3}, captions)
    found = run(tmp_path, "bigfile")
    assert found["shards"] == 4  # 1 is empty, and so is 2
    assert [(row["index"], row["id"], row["split"]) for row in found["videos"]] == [
        (1, "vid_1", "train"),
        (6, "vid_6", "test"),
        (7, "vid_7", "train"),
    ]
    for kind, wanted in (("video", frames), ("text", texts)):
        here = arrays(found, kind)
        assert here.keys() == wanted.keys()
        assert all(np.array_equal(here[key], wanted[key]) for key in wanted)
    assert {row["key"]: row["text"] for row in found["captions"]} == {
        id_: text for lines in captions.values() for id_, text in lines
    }
    meta = json.loads((found["root"] / "video_meta.json").read_text())
    assert (meta["total"], meta["splits"]) == (3, {"train": 2, "val": 0, "test": 1})


@pytest.mark.parametrize("other", ["vid_03#cap_0", "vid_3", "vid_9999999999999999999#cap_0", "x#0"])
def test_numbers_are_given_where_one_id_is_another(tmp_path, other):
    captions = {"train": [("vid_5#cap_0", "a"), (other, "b")]}
    write_root(tmp_path / "source", "hdf5", {"vid_5": 1, other.partition("#")[0]: 1}, captions)
    found = run(tmp_path, "hdf5")
    assert [(row["index"], row["id"]) for row in found["videos"]] == [
        (0, "vid_5"),
        (1, other.partition("#")[0]),
    ]


def test_a_number_that_would_fill_the_disk_with_empty_shards(tmp_path):
    captions = {"train": [("vid_0#cap_0", "a"), ("vid_99999999#cap_0", "a")]}
    write_root(tmp_path / "source", "hdf5", {"vid_0": 1, "vid_99999999": 1}, captions)
    with pytest.raises(UserError, match=r"vid_99999999 there are 50000000 shards of 2 videos"):
        run(tmp_path, "hdf5")


@pytest.mark.parametrize("shards", [2, 4])
def test_another_number_of_shards_is_refused_with_the_right_one_and_goes_on(tmp_path, shards, monkeypatch):
    write_pt(tmp_path)
    with pytest.raises(UserError, match=rf"fills 3 shards of 2 videos, but {shards} are expected.*shards: 3"):
        run(tmp_path, "webvid_pt", shards=shards)
    written = []
    monkeypatch.setattr(ShardWriter, "write", noted(written, ShardWriter.write))
    assert run(tmp_path, "webvid_pt", shards=3)["shards"] == 3
    assert written == []


# Places


def test_folders_that_snakemake_has_made(tmp_path):
    write_pt(tmp_path)
    for name in ("FeatureData", "TokenData", "TextData", "SentenceData"):
        (tmp_path / "features" / name).mkdir(parents=True)
    (tmp_path / "corpus").mkdir()
    assert run(tmp_path, "webvid_pt")["shards"] == 3
    assert [path.name for path in tmp_path.rglob(".*")] == [import_places.MADE]


def test_with_fewer_shards_nothing_is_left_of_the_former(tmp_path):
    """Snakemake has removed the outputs that it knows of: those of two shards, and no sidecar."""
    straight, again = tmp_path / "straight", tmp_path / "again"
    for folder in (straight, again):
        write_pt(folder)
    run(again, "webvid_pt", videos_per_shard=1)
    known = "features/[!.]*.json", "features/*.arrow", "features/*/*_00[01].hdf5", "corpus/*_00[01].parquet"
    for file in [file for pattern in known for file in again.glob(pattern)]:
        file.unlink()
    run(again, "webvid_pt", videos_per_shard=3)
    run(straight, "webvid_pt", videos_per_shard=3)
    assert contents(again) == contents(straight)


def test_a_finished_import_is_not_written_over(tmp_path):
    write_pt(tmp_path)
    run(tmp_path, "webvid_pt")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="is there already and not empty"):
        run(tmp_path, "webvid_pt", videos_per_shard=3)
    assert contents(tmp_path) == before


def test_the_hidden_work_is_not_in_the_way_of_snakemake(tmp_path, monkeypatch):
    """What a killed job leaves: only hidden folders."""
    write_pt(tmp_path)
    monkeypatch.setattr(ShardWriter, "write", killed_at("vid_3#cap_0", ShardWriter.write))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "webvid_pt")
    assert [path.name for name in ("features", "corpus") for path in (tmp_path / name).iterdir()] == [
        ".import",
        ".import",
    ]


@pytest.mark.parametrize("changed", [False, True])
def test_a_killed_import_goes_on_behind_its_last_shard(tmp_path, monkeypatch, changed):
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        write_pt(folder)
    monkeypatch.setattr(ShardWriter, "write", killed_at("vid_3#cap_0", ShardWriter.write))
    with pytest.raises(KeyboardInterrupt):
        run(killed, "webvid_pt")
    monkeypatch.undo()
    if changed:  # what is there is of other features, then
        for folder in (straight, killed):
            write_pt(folder, test_text_0=(1, 8), test_video_0=(1, 3, 8))
    written = []
    monkeypatch.setattr(ShardWriter, "write", noted(written, ShardWriter.write))
    run(killed, "webvid_pt")
    assert ("vid_0" in written, "vid_2" in written) == (changed, True)
    run(straight, "webvid_pt")
    assert contents(killed) == contents(straight)


@pytest.mark.parametrize(("moves", "removed"), [(0, False), (9, True), (33, False), (33, True), (40, False)])
def test_a_kill_while_files_get_their_places(tmp_path, monkeypatch, moves, removed):
    """`removed`: Snakemake takes away what a failed job has made of its outputs."""
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    for folder in (straight, killed):
        write_pt(folder)
    run(straight, "webvid_pt")
    real, done = Path.replace, []

    def replace(path, target):
        if import_places.WORK in Path(path).parts and import_places.WORK not in Path(target).parts:
            done.append(path)
            if len(done) > moves:
                raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        run(killed, "webvid_pt")
    monkeypatch.undo()
    assert not (killed / "features" / "video_meta.json").exists()  # readers start there
    if removed:
        for file in (*(killed / "features").rglob("*.hdf5"), *(killed / "corpus").rglob("*.parquet")):
            if import_places.WORK not in file.parts:
                file.unlink()
    run(killed, "webvid_pt")
    assert contents(killed) == contents(straight)


def test_a_kill_behind_the_last_move_is_told(tmp_path, monkeypatch):
    write_pt(tmp_path)
    rmtree = import_places.shutil.rmtree

    def killed(folder, **_):
        rmtree(Path(folder) / "FeatureData", ignore_errors=True)
        if Path(folder).exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(import_places.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "webvid_pt")
    monkeypatch.undo()
    before = contents(tmp_path)
    with pytest.raises(UserError, match="is there already and not empty"):
        run(tmp_path, "webvid_pt")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("mine", ["corpus/videos_000.parquet", "features/notes/자료.txt"])
def test_nothing_is_written_over(tmp_path, mine):
    write_pt(tmp_path)
    (tmp_path / mine).parent.mkdir(parents=True)
    (tmp_path / mine).write_bytes(b"of somebody else")
    with pytest.raises(UserError, match=rf"is there already and not empty, it holds .*{Path(mine).name}"):
        run(tmp_path, "webvid_pt")
    assert (tmp_path / mine).read_bytes() == b"of somebody else"


def contents(folder):
    """By path, of features and corpus; without hidden files."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for name in ("features", "corpus")
        for path in (folder / name).rglob("*")
        if path.is_file() and import_places.WORK not in path.parts
    }


def killed_at(last, write):
    def until(self, key, array):
        if key == last:
            raise KeyboardInterrupt
        write(self, key, array)

    return until


def noted(keys, write):
    def and_note(self, key, array):
        keys.append(key)
        write(self, key, array)

    return and_note


# Settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"videos_per_shard": 0}, "--videos-per-shard 0: "),
        ({"shards": 0}, "--shards 0: "),
        ({"language": "English!"}, "--language 'English!': "),
        ({"captions": Path("texts.csv")}, "--captions: goes with --format webvid_pt, not with bigfile"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, settings, says):
    write_root(tmp_path / "source", "bigfile")
    with pytest.raises(UserError, match=says):
        run(tmp_path, "bigfile", **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_folders_are_apart(tmp_path):
    write_pt(tmp_path)
    job = Import("webvid_pt", tmp_path / "source", "c", 1)
    for root, corpus in (("out", "out/corpus"), ("source/features", "corpus"), ("same", "same")):
        with pytest.raises(UserError, match="give folders that are apart"):
            import_features(job, tmp_path / root, tmp_path / corpus)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("remove", "says"),
    [
        ("TextData/*.caption.txt", r"of one collection are expected; found none"),
        ("TextData/*.hdf5", r"TextData: no features of this format here"),
        ("FeatureData/vis/shape.txt", r"FeatureData: no features of this format here"),
        ("FeatureData/vis/feature.bin", r"feature\.bin"),
    ],
)
def test_a_source_that_lacks_something(tmp_path, remove, says):
    write_root(tmp_path / "source", "bigfile")
    for file in (tmp_path / "source").glob(remove):
        file.unlink()
    with pytest.raises(UserError, match=says):
        run(tmp_path, "bigfile")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_text_features_that_are_no_hdf5(tmp_path):
    write_root(tmp_path / "source", "bigfile")
    (tmp_path / "source" / "TextData" / "roberta_mini_query_feat.hdf5").write_bytes(b"none")
    with pytest.raises(UserError, match=r"query_feat\.hdf5: cannot be read as HDF5"):
        run(tmp_path, "bigfile")
