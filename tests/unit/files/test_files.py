"""Files and folders that are written whole or not at all."""

import os
import stat

import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import (
    file_digest,
    read_json,
    text_digest,
    whole_file,
    whole_folder,
    write_json,
)


def test_a_failed_write_leaves_what_was_there(tmp_path):
    target = tmp_path / "결과.json"
    write_json(target, {"값": 1})
    with pytest.raises(RuntimeError), whole_file(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(target) == {"값": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["결과.json"]


def test_a_failed_folder_leaves_what_was_there(tmp_path):
    target = tmp_path / "model"
    with whole_folder(target) as folder:
        (folder / "weights").write_text("1")
    with pytest.raises(RuntimeError), whole_folder(target) as folder:
        (folder / "weights").write_text("2")
        raise RuntimeError
    assert (target / "weights").read_text() == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    thesis = tmp_path / "mine" / "thesis.txt"
    thesis.parent.mkdir()
    thesis.write_text("mine")
    for path, told in ((thesis.parent, "mine: holds other things"), (thesis, r"thesis\.txt: is a file")):
        with pytest.raises(UserError, match=told), whole_folder(path, made_of="config.json"):
            pytest.fail("nothing is begun")
    assert thesis.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_folder_in_the_place_of_a_file_is_told_before_anything_is_written(tmp_path):
    (tmp_path / "곡선.csv").mkdir()
    with pytest.raises(UserError, match=r"곡선\.csv: is a folder"), whole_file(tmp_path / "곡선.csv"):
        pytest.fail("nothing is begun")


@pytest.mark.parametrize("before", [[], ["config.json", "weights"]])
def test_an_empty_folder_and_one_of_the_same_kind_are_replaced(tmp_path, before):
    (tmp_path / "model").mkdir()
    for name in before:
        (tmp_path / "model" / name).touch()
    with whole_folder(tmp_path / "model", made_of="config.json") as folder:
        (folder / "config.json").touch()
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


def test_others_may_read_what_is_written(tmp_path):
    with whole_folder(tmp_path / "model") as folder:
        (folder / "weights").touch(mode=0o600)
    with whole_file(tmp_path / "table") as temporary:
        temporary.touch(mode=0o600)
    old = os.umask(0)
    os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("model", "model/weights", "table")]
    assert modes == [0o777 & ~old, 0o666 & ~old, 0o666 & ~old]


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"loss": float("nan")})
    assert [path.name for path in tmp_path.iterdir()] == []


def test_broken_json_is_named(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(UserError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_digests_tell_contents_apart(tmp_path):
    (tmp_path / "a").write_text("ab")
    (tmp_path / "b").write_text("ab")
    assert file_digest(tmp_path / "a") == file_digest(tmp_path / "b")
    assert text_digest(["ab", "c"]) != text_digest(["a", "bc"])
