import io
import json
import os
import sys

import pytest
import torch

from tests.unit.retrieval.search_corpus import make_sources
from workflow_scripts import search
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.search.build import build_index
from workflow_scripts.lib.retrieval.search.show import clock, printable


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    sources = make_sources(tmp_path_factory.mktemp("cli") / "c")
    folder = sources.features.parent / "index"
    build_index(sources, folder, torch.device("cpu"))
    return folder


@pytest.fixture
def run(index, monkeypatch, capsys):
    """The command's output and errors."""

    def call(*flags):
        monkeypatch.setattr(sys, "argv", ["search", "--index", str(index), "--threads", "1", *flags])
        capsys.readouterr()
        search.main()
        return capsys.readouterr()

    return call


def test_a_table_a_query(run):
    lines = run("--query", "빨간 사각형이 있다", "--query", "红色 方块", "--top", "3").out.splitlines()
    assert lines[0] == "빨간 사각형이 있다"
    assert lines[6] == "红色 方块"
    assert lines[1].split() == ["rank", "score", "best", "clip", "video", "id", "path"]
    assert [line.split()[0] for line in lines[2:5]] == ["1", "2", "3"]
    assert all("동영상/" in line and "–0:0" in line for line in lines[2:5] if "vid_3 " not in line)


def test_json_has_the_span_in_the_file(run):
    out = run("--query", "a red square", "--query", "a green square", "--top", "100", "--json").out
    first, second = map(json.loads, out.splitlines())
    assert (first["query"], second["query"]) == ("a red square", "a green square")
    assert [one["rank"] for one in first["videos"]] == list(range(1, 14))
    scores = [one["score"] for one in first["videos"]]
    assert scores == sorted(scores, reverse=True)
    for one in first["videos"]:
        begin = 100 if one["video"] == "vid_3" else 0  # where the clip is in its file
        assert begin < one["start_s"] < one["end_s"] < begin + 10
        assert one["id"] == f"영상 {one['video'].removeprefix('vid_')}"
        assert one["frames"][0] <= one["frames"][1]


def test_a_long_query_is_said_to_be_cut(run):
    found = run("--query", "a red square and a green square and a red square", "--json")
    assert json.loads(found.out)["cut"]
    assert found.err.count("of which the model reads the first 6") == 1
    assert "of which the model reads" not in run("--query", "a red").err


def test_queries_of_the_standard_input(run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("a red square\n\n빨간\n".encode())))
    found = [json.loads(line) for line in run("--query", "-", "--json", "--top", "1").out.splitlines()]
    assert [one["query"] for one in found] == ["a red square", "빨간"]
    assert [len(one["videos"]) for one in found] == [1, 1]


def test_a_reader_that_has_seen_enough_ends_the_search(run, monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as closed:
        monkeypatch.setattr(sys, "stdout", closed)
        run("--query", "a red square")


def test_a_terminal_of_another_encoding(run, monkeypatch):
    for flags, encoding, shown in (([], "ascii", r"\ube68\uac04"), (["--json"], "utf-8", "빨간")):
        terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        monkeypatch.setattr(sys, "stdout", terminal)
        run("--query", "빨간", *flags)
        assert shown in terminal.buffer.getvalue().decode(encoding)


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--query", " "], "--query: is empty"),
        (["--query", "a", "--top", "0"], "--top 0"),
        (["--query", "a", "--index", "gone"], "gone: no search index"),
    ],
)
def test_what_cannot_be_searched(run, flags, told):
    with pytest.raises(UserError, match=told):
        run(*flags)


def test_names_of_annotations_move_no_cursor():
    assert printable("a\x1b[2J\nb\u2028") == "a\\u001b[2J\\u000ab\\u2028"
    assert printable("👩\u200d🚀 می\u200cخواهم") == "👩\u200d🚀 می\u200cخواهم"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00.0"), (59.96, "1:00.0"), (62.52, "1:02.5"), (3723, "1:02:03.0")]
)
def test_times_as_on_a_clock(seconds, shown):
    assert clock(seconds) == shown
