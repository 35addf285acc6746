"""A search index from features to answers, and folders that are none."""

import json
import shutil
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.unit.features.tiny_models import demo_folder
from tests.unit.retrieval.search_corpus import (
    SECONDS_A_FRAME,
    WITHOUT_FEATURES,
    frame_count,
    make_sources,
    of_nobody_knows_what,
)
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import caption_table
from workflow_scripts.lib.features.datasets import CaptionTable
from workflow_scripts.lib.features.layout import shard_path
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.retrieval.evaluate import retrieve
from workflow_scripts.lib.retrieval.model_folder import read_model, write_model
from workflow_scripts.lib.retrieval.search import build, clips
from workflow_scripts.lib.retrieval.search.build import build_index
from workflow_scripts.lib.retrieval.search.index import SearchIndex
from workflow_scripts.lib.retrieval.search.query import QueryEncoder, checked, read_queries

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return make_sources(tmp_path_factory.mktemp("search") / "말뭉치")


@pytest.fixture(scope="module")
def made(sources):
    """The index of all videos; not to be changed."""
    folder = sources.features.parent / "index"
    build_index(sources, folder, CPU)
    return folder


@pytest.fixture
def copied(made, tmp_path):
    return shutil.copytree(made, tmp_path / "index")


def search(folder, texts, top=5):
    index = SearchIndex(folder)
    queries = QueryEncoder(folder, index.info, CPU).encode(texts)
    return index.search(np.stack([query.vector for query in queries]), top)


def test_a_stored_caption_finds_what_evaluation_found(sources, tmp_path):
    build_index(replace(sources, splits=("test",)), tmp_path / "index", CPU)
    split = CaptionTable(caption_table(sources.features, "test"))
    readers = (open_features(sources.features, kind) for kind in ("video", "text"))
    expected = retrieve(read_model(sources.model), split, *readers, sources.config.clip_weight)
    found = search(tmp_path / "index", [split.text(row) for row in range(len(split))])
    for row, of_caption in enumerate(found):
        assert [one.place.video for one in of_caption] == expected.top_videos[row].tolist()
        scores = [one.score for one in of_caption]
        assert scores == pytest.approx(expected.top_scores[row].tolist(), abs=1e-3)  # of float16
        assert [one.rank for one in of_caption] == list(range(1, len(scores) + 1))


def test_all_videos_with_features_are_there_with_their_times(made):
    [found] = search(made, ["a red square"], top=100)
    assert sorted(one.place.video for one in found) == [i for i in range(14) if i != WITHOUT_FEATURES]
    for one in found:
        assert 0 <= one.span.start_s < one.span.end_s <= SECONDS_A_FRAME * frame_count(one.place.video)
        assert one.place.clip_start_s == (100.0 if one.place.video == 3 else None)


def test_an_approximate_index_keeps_vectors_and_tells_its_recall(sources, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(clips, "LEAST", 10)
    monkeypatch.setattr(clips, "code_size", lambda width: 1)
    monkeypatch.setattr(clips, "BITS", 4)
    info = build_index(sources, tmp_path / "index", CPU, "ivf_pq")
    assert info.kind == "ivf_pq"
    assert info.approximate.queries == 12  # of val and test
    assert 0 < info.approximate.recall_at_10 <= 100
    assert "recall@10" in capsys.readouterr().out
    exact = tmp_path / "exact"
    build_index(sources, exact, CPU, "exact")
    scores = {one.place.video: one.score for one in search(exact, ["a red square"], top=100)[0]}
    [found] = search(tmp_path / "index", ["a red square"])
    assert {one.place.video: one.score for one in found} == pytest.approx(
        {one.place.video: scores[one.place.video] for one in found}, abs=1e-5
    )


def test_the_model_goes_with_the_index(sources, tmp_path):
    model = shutil.copytree(sources.model, tmp_path / "model")
    build_index(replace(sources, model=model), tmp_path / "index", CPU)
    shutil.rmtree(model)
    assert search(tmp_path / "index", ["a red square"])[0]


def test_no_video_to_search(sources, tmp_path):
    with pytest.raises(UserError, match="no video of the splits val has features"):
        build_index(
            replace(sources, splits=("val",), tables=only_train(sources, tmp_path)), tmp_path / "i", CPU
        )
    assert not (tmp_path / "i").exists()


def only_train(sources, folder):
    table = pq.read_table(sources.tables.corpus / "videos_000.parquet", filters=[("split", "=", "train")])
    (folder / "corpus").mkdir()
    pq.write_table(table, folder / "corpus/videos_000.parquet")
    return sources.tables._replace(corpus=folder / "corpus")


def test_a_model_that_makes_nan_is_named_and_the_index_that_was_there_stays(sources, copied, tmp_path):
    model = read_model(sources.model)
    model.clip_input_proj.net[1].bias.data.fill_(torch.nan)
    write_model(tmp_path / "model", model.state_dict(), model.config)
    before = (copied / "index.json").read_bytes()
    with pytest.raises(UserError, match=r"the model makes NaN of the features of vid_\d+"):
        build_index(replace(sources, model=tmp_path / "model"), copied, CPU)
    assert (copied / "index.json").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"index", "model"}


def test_a_folder_of_other_things_stays(sources, tmp_path):
    (tmp_path / "논문.txt").touch()
    with pytest.raises(UserError, match=r"holds other things \(there is no index\.json in it\)"):
        build_index(sources, tmp_path, CPU)
    assert [path.name for path in tmp_path.iterdir()] == ["논문.txt"]


def test_features_of_nobody_knows_what_have_frames_and_no_queries(sources, tmp_path, capsys):
    build_index(of_nobody_knows_what(sources), tmp_path / "index", CPU)
    assert "not be searched by text" in capsys.readouterr().out
    index = SearchIndex(tmp_path / "index")
    [found] = index.search(np.eye(16, dtype=np.float32)[:1], 3)
    assert {one.span.start_s for one in found} == {None}
    assert all(0 <= one.span.first_frame <= one.span.last_frame < one.place.frames for one in found)
    with pytest.raises(UserError, match="the encoder for a query is not known here"):
        QueryEncoder(tmp_path / "index", index.info, CPU)


def with_texts(sources, folder, identity, width):
    with ShardWriter(shard_path(folder, "text", 0), identity, dtype="float16") as writer:
        writer.write("vid_0#cap_0", np.ones((3, width)))
    return replace(sources, text_features=folder)


def test_other_features_of_captions_than_the_model_s_are_named(sources, tmp_path):
    with pytest.raises(UserError, match=r"text_shard_000\.hdf5: vid_0#cap_0 has tokens of 7 numbers"):
        build_index(with_texts(sources, tmp_path, {}, 7), tmp_path / "index", CPU)


def test_an_encoder_does_not_go_with_features_that_do_not_name_theirs(sources, tmp_path):
    width = read_model(sources.model).config.query_input_size
    with pytest.raises(UserError, match="do not say which encoder made them"):
        build_index(with_texts(sources, tmp_path, "by hand", width), tmp_path / "index", CPU)


def test_an_index_that_cannot_be_written_leaves_nothing(sources, tmp_path, monkeypatch):
    written = build._write_index
    monkeypatch.setattr(build, "_write_index", lambda file, index: written(Path("/dev/full"), index))
    with pytest.raises(OSError, match="No space left on device"):  # of the last bytes, too
        build_index(sources, tmp_path / "index", CPU)
    assert not any(tmp_path.iterdir())


def test_another_encoder_than_the_one_of_the_captions_is_named(sources, copied, tmp_path):
    other = demo_folder(tmp_path / "encoder")
    weights = tmp_path / "encoder/open_clip_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-4:] = b"\0\0\0\0"
    weights.write_bytes(data)
    info = json.loads((copied / "index.json").read_text())
    info["encoder"]["section"]["model"] = other.model
    (copied / "index.json").write_text(json.dumps(info))
    with pytest.raises(
        UserError, match=r"not the one that the index was built with \(space\.weights_sha256: "
    ):
        search(copied, ["a"])


def test_an_encoder_that_was_moved_is_named(copied):
    info = json.loads((copied / "index.json").read_text())
    info["encoder"]["section"] |= {"kind": "trained_clip", "model": None}
    info["encoder"]["trained_clip"] = "gone/clip"
    (copied / "index.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match=r"^gone/clip: not there.*--trained-clip FOLDER"):
        search(copied, ["a"])


@pytest.mark.parametrize(
    ("file", "damage", "told"),
    [
        ("index.json", lambda data: None, r"index: no search index"),
        ("index.json", lambda data: data[:50], r"index\.json: cannot be read as JSON"),
        ("index.json", lambda data: b"{}", r"index\.json: kind: missing"),
        ("index.json", lambda data: b"[1]", r"index\.json: "),
        ("index.json", lambda data: data.replace(b'"format": 1', b'"format": 2'), r"index\.json: format: "),
        (
            "index.json",
            lambda data: data.replace(b'"videos": 13', b'"videos": 12'),
            r"has 13 videos, the index has 12",
        ),
        ("index.json", lambda data: data.replace(b'"hidden_size": 16', b'"hidden_size": 8'), r"52 of 8;"),
        ("index.faiss", lambda data: None, r"index\.faiss: is missing"),
        ("index.faiss", lambda data: data[:-1], r"index\.faiss: has \d+ bytes, index\.json says"),
        ("index.faiss", lambda data: b"\0" * len(data), r"index\.faiss: FAISS cannot read it"),
        ("index.faiss", lambda data: data[:4] + b"\xff" * (len(data) - 4), r"index\.faiss: "),
        ("videos.parquet", lambda data: b"\0" * len(data), r"videos\.parquet: cannot be read as the videos"),
        (
            "videos.parquet",
            lambda data: data[:4] + b"\xff" * 300 + data[304:],
            r"videos\.parquet: cannot be read as the videos",
        ),
        ("model/model.safetensors", lambda data: data[:-1] + b"x", r"model: not the model that encoded"),
        ("model/model.safetensors", lambda data: None, r"model: not the model that encoded"),
        ("model/config.json", lambda data: b"{}", r"config\.json: not the sizes of a GMMFormer"),
    ],
)
def test_a_damaged_index_gets_one_sentence(copied, file, damage, told):
    data = damage((copied / file).read_bytes())
    if data is None:
        (copied / file).unlink()
    else:
        (copied / file).write_bytes(data)
    with pytest.raises(UserError, match=told) as caught:
        search(copied, ["a"])
    assert "\n" not in str(caught.value)


def test_queries_tell_what_of_them_is_read(made):
    index = SearchIndex(made)
    short, long, longest = QueryEncoder(made, index.info, CPU).encode(
        ["a red", "a red square " * 2, "a " * 50]
    )
    assert (short.tokens, short.cut_by_encoder) == (short.read, False)
    assert (long.read, long.cut_by_encoder) == (6, False)
    assert long.tokens > 6
    assert longest.cut_by_encoder


def test_queries_together_are_as_one_by_one(made):
    texts = ["a red square", "빨간 사각형이 있다 and a green square", "红色 方块"]
    index = SearchIndex(made)
    encoder = QueryEncoder(made, index.info, CPU)
    together = np.stack([query.vector for query in encoder.encode(texts)])
    alone = np.stack([encoder.encode([text])[0].vector for text in texts])
    assert together == pytest.approx(alone, abs=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-2


def test_queries_are_composed_and_never_empty():
    assert checked(unicodedata.normalize("NFD", " 빨간 ")) == "빨간"
    for empty in ("", " \t\n", "\u3000"):
        with pytest.raises(UserError, match="--query: is empty"):
            checked(empty)
    with pytest.raises(UserError, match="is not in the terminal's encoding"):
        checked("a\udcff")


class Typed:
    def __init__(self, lines, isatty=False):
        self.buffer, self.isatty = iter(lines), lambda: isatty


def test_lines_of_the_input_are_queries():
    lines = ["\ufeffa red\r\n".encode(), b"\n", "빨간\n".encode(), "红色".encode()]
    given = ["first", "-"]
    assert list(read_queries(given, Typed(lines))) == [["first", "a red", "빨간", "红色"]]
    assert list(read_queries(given, Typed(lines, isatty=True))) == [["first"], ["a red"], ["빨간"], ["红色"]]
    assert list(read_queries(["-"], Typed([]))) == []
    with pytest.raises(UserError, match="line 2 is not UTF-8"):
        list(read_queries(["-"], Typed([b"a\n", b"\xff\n"])))


def test_many_lines_are_read_in_portions():
    portions = list(read_queries(["-"], Typed([b"a\n"] * 130)))
    assert [len(portion) for portion in portions] == [64, 64, 2]
