"""The `jsonl` format, and what all formats of JSON rows share."""

import pytest

from tests.unit.corpus.adapters.reading import read
from workflow_scripts.lib.corpus.adapters._json import load_document, members
from workflow_scripts.lib.errors import UserError


def lines(folder, *rows):
    return read("jsonl", folder / "注释.jsonl", "\n".join(rows))


def test_id_source_and_duration(tmp_path):
    (first, second), problems = lines(
        tmp_path,
        '{"video": "a.mp4", "caption": "x", "id": 7, "source": "원본_1", "duration_s": 12.5}',
        '{"video": "b.mp4", "caption": "y", "id": null, "source": ""}',
    )
    assert problems == []
    assert (first.id, first.source, first.duration_s) == ("7", "원본_1", 12.5)
    assert (second.id, second.source, second.duration_s) == (None, None, None)


@pytest.mark.parametrize(
    ("row", "what"),
    [
        (
            '{"video": "a.mp4", "caption": "x", "caption": "y"}',
            "the key `caption` is there more than once",
        ),
        (
            '{"video": "a.mp4", "captions": [{"text": "x", "text": "y"}]}',
            "the key `text` is there more than once",
        ),
        (
            '{"video": "a.mp4", "captions": [{"text": "x", "attributes": {"a": "b", "a": "c"}}]}',
            "the key `a` is there more than once",
        ),
        ('{"video": 3, "caption": "x"}', "`video` is a text; found 3"),
        ('{"video": " ", "caption": "x"}', "no `video`; found the keys: video, caption"),
        ('{"video": "a.mp4", "caption": "x", "id": 1.5}', "`id` is a text; found 1.5"),
        ('{"video": "a.mp4", "caption": "x", "id": true}', "`id` is a text; found true"),
        (
            '{"video": "a.mp4", "caption": "x", "duration_s": "long"}',
            "a number of seconds is expected, found 'long'",
        ),
        ('["a.mp4", "x"]', 'a row is an object; found ["a.mp4", "x"]'),
        ('{"video": "a.mp4",', "not readable as JSON: Expecting property name enclosed in double quotes"),
        ("[" * 100_000, "not readable as JSON: maximum recursion depth exceeded"),
        ('{"video": "a.mp4", "caption": ' + "1" * 5000 + "}", "not readable as JSON: Exceeds the limit"),
    ],
)
def test_a_bad_line_hides_no_other(tmp_path, row, what):
    videos, problems = lines(tmp_path, "", row, '{"video": "z.mp4", "caption": "fine"}')
    assert [v.path for v in videos] == ["z.mp4"]
    [(line, kind, found)] = problems
    assert (line, kind) == (2, "bad_row")
    assert found.startswith(what)


def test_members_of_a_document_are_all_there(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('\ufeff{"x": 1, "y": {"z": 2}, "x": 3}', encoding="utf-8")
    document = load_document(file, dict)
    assert list(members(document)) == [(1, "x", 1), (2, "y", {"z": 2}), (3, "x", 3)]
    assert list(members(document["y"])) == [(1, "z", 2)]


@pytest.mark.parametrize(
    ("text", "of", "says"),
    [
        (b'{"a": 1,\n "b" 2}', dict, r"a\.json:2: not readable as JSON: Expecting ':' delimiter at column 6"),
        (b"", list, r"a\.json:1: not readable as JSON"),
        (b"\xff\xfe{\x00", dict, r"a\.json:1: not readable as JSON"),
        (b"[1]", dict, "an object is expected, found an array; set corpus.adapter"),
        (b"3", list, "an array is expected, found a number"),
        (b"true", list, "found true or false"),
        (b"null", dict, "found null"),
        (b"[" * 100_000, list, "not readable as JSON: maximum recursion"),
    ],
)
def test_a_file_that_is_no_such_document(tmp_path, text, of, says):
    file = tmp_path / "a.json"
    file.write_bytes(text)
    with pytest.raises(UserError, match=says):
        load_document(file, of)


def test_bytes_that_are_no_utf8_stay_to_be_found_by_the_checks(tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b'["\xff"]')
    assert load_document(file, list) == ["\udcff"]


def test_a_missing_document_is_told(tmp_path):
    with pytest.raises(UserError, match=r"no\.json.*corpus\.annotations"):
        load_document(tmp_path / "no.json", list)
