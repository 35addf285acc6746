"""Captions on the disk: what a kill leaves, and what is not this command's."""

import json

import pyarrow.parquet as pq
import pytest

from workflow_scripts.lib.captioner.captions_file import (
    LINES,
    Generated,
    Journal,
    read_captions,
    write_captions,
)
from workflow_scripts.lib.errors import UserError

MADE_BY = {"model": "a", "generation": {"num_beams": 1}}
TEXTS = [
    Generated(text, cut) for text, cut in (("하나", False), ("two", True), ('th"ree\n', False), ("4", False))
]


def journal(folder, made_by=MADE_BY, batch_size=2, total=5):
    return Journal(folder / "captions_test.part", made_by, batch_size, total)


def test_it_goes_on_behind_the_last_whole_batch(tmp_path):
    one = journal(tmp_path)
    one.add(TEXTS[:2])
    one.add(TEXTS[2:])
    lines = tmp_path / "captions_test.part" / LINES
    whole = lines.read_bytes()
    assert journal(tmp_path).done == TEXTS

    lines.write_bytes(whole[:-3])  # the last line is torn
    assert journal(tmp_path).done == TEXTS[:2]  # and its batch with it
    again = journal(tmp_path)
    again.add(TEXTS[2:])
    assert lines.read_bytes() == whole


@pytest.mark.parametrize("torn", [b"", b'["5", fal', b'["5", fals]\n', b'"5"\n', b"\xff\n"])
def test_what_is_no_caption_is_cut_off(tmp_path, torn):
    journal(tmp_path).add(TEXTS[:2])
    lines = tmp_path / "captions_test.part" / LINES
    with lines.open("ab") as handle:
        handle.write(torn)
    assert journal(tmp_path).done == TEXTS[:2]


def test_the_last_batch_may_be_small(tmp_path):
    one = journal(tmp_path)
    for batch in (TEXTS[:2], TEXTS[2:], [Generated("five", False)]):
        one.add(batch)
    assert [caption.text for caption in journal(tmp_path).done[-2:]] == ["4", "five"]


def test_captions_of_another_model_are_set_aside(tmp_path, capsys):
    journal(tmp_path).add(TEXTS[:2])
    other = {**MADE_BY, "generation": {"num_beams": 4}}
    assert journal(tmp_path, other).done == []
    assert "generation.num_beams: 1 -> 4" in capsys.readouterr().out
    assert (tmp_path / "captions_test.part.previous" / LINES).read_text().count("\n") == 2


def test_it_is_gone_when_its_captions_are_written(tmp_path):
    journal(tmp_path).remove()
    assert not list(tmp_path.iterdir())


ROWS = [
    {
        "key": "vid_0#cap_1", "video": 0, "language": "ko", "start_s": None, "end_s": 2.5, "frames": [0, 3],
        "reference": "빨간 원", "generated": 'a "b"\u2028c', "cut": False, "attributes": {"색": "빨간"},
    },
    {
        "key": "vid_7#cap_0", "video": 7, "language": "en", "start_s": 1.0, "end_s": None, "frames": [2],
        "reference": "x", "generated": "", "cut": True, "attributes": {},
    },
]  # fmt: skip


def test_the_table_says_what_the_lines_say(tmp_path):
    for name in ("a", "b"):
        write_captions(ROWS, tmp_path / f"{name}.jsonl", tmp_path / f"{name}.parquet")
    assert read_captions(tmp_path / "a.jsonl") == ROWS
    found = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert [{**row, "attributes": dict(row["attributes"])} for row in found] == ROWS
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_no_captions_have_the_same_columns(tmp_path):
    write_captions([], tmp_path / "a.jsonl", tmp_path / "a.parquet")
    write_captions(ROWS, tmp_path / "b.jsonl", tmp_path / "b.parquet")
    assert pq.read_schema(tmp_path / "a.parquet") == pq.read_schema(tmp_path / "b.parquet")
    assert read_captions(tmp_path / "a.jsonl") == []


@pytest.mark.parametrize("line", ["{", "[1]", json.dumps({"video": 1}), '"text"'])
def test_a_line_that_is_no_caption_is_named(tmp_path, line):
    write_captions(ROWS, tmp_path / "a.jsonl", tmp_path / "a.parquet")
    with (tmp_path / "a.jsonl").open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(UserError, match="line 3"):
        read_captions(tmp_path / "a.jsonl")
