"""pack_pairs on a small corpus: its folder, its counts, and what is refused."""

import json

import pytest

from tests.unit.clip import pipeline
from tests.unit.clip.fake_corpus import make_corpus, write_configs
from workflow_scripts.lib.errors import UserError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two shards; of video 3 there are no frames."""
    return make_corpus(tmp_path_factory.mktemp("packed"), failed=(3,))


def packed(corpus, folder, flags=None, **data):
    """What counts.json of both shards says, and the names of all files."""
    (folder / "corpus").symlink_to(corpus / "corpus")
    (folder / "frames").symlink_to(corpus / "frames")
    write_configs(folder, data=data)
    pipeline.pack(folder, **flags or {})
    made = [folder / "pairs" / shard for shard in ("000", "001")]
    files = [{str(file.relative_to(shard)) for file in shard.rglob("*") if file.is_file()} for shard in made]
    return [json.loads((shard / "counts.json").read_text()) for shard in made], files


def test_counts_say_what_was_packed_and_what_was_left_out(corpus, tmp_path, capsys):
    counts, files = packed(corpus, tmp_path, pairs_per_tar=16)
    # 4 training videos a shard, of the first only 3; 4 captions each, 2 frames a training caption
    assert [one["pairs"] for one in counts] == [
        {"train": [12, 12], "val": [4]},
        {"train": [16, 16], "val": [4]},
    ]
    assert [one["captions_without_frames"] for one in counts] == [4, 0]
    assert files[0] == {"counts.json", "train_000.tar", "train_001.tar", "val_000.tar"}
    assert "train: 24 pairs" in capsys.readouterr().out


def test_tables_and_pictures(corpus, tmp_path):
    counts, files = packed(corpus, tmp_path, dataset_type="csv", frames_per_caption=1, languages=["ko"])
    assert counts[0]["pairs"] == {"train": [6], "val": [2]}
    pictures = {name for name in files[0] if name.endswith(".jpg")}
    assert files[0] - pictures == {"counts.json", "train.tsv", "val.tsv"}
    assert "images/000000/vid_000000000.f02.jpg" in pictures and len(pictures) == 4 * 2


def test_only_the_splits_that_are_wanted(corpus, tmp_path):
    counts, files = packed(corpus, tmp_path, flags={"splits": "val"})
    assert counts[0]["pairs"] == {"val": [4]} and files[0] == {"counts.json", "val_000.tar"}


def test_packing_again_gives_the_same_bytes_and_leaves_nothing_behind(corpus, tmp_path):
    packed(corpus, tmp_path, pairs_per_tar=16)
    before = {file: file.read_bytes() for file in (tmp_path / "pairs").rglob("*.*")}
    pipeline.pack(tmp_path)
    assert {file: file.read_bytes() for file in (tmp_path / "pairs").rglob("*.*")} == before
    write_configs(tmp_path, data={"pairs_per_tar": 100})
    pipeline.pack(tmp_path)
    assert not list(tmp_path.rglob("train_001.tar"))


def test_a_folder_of_other_things_is_not_replaced(corpus, tmp_path):
    (tmp_path / "pairs" / "000").mkdir(parents=True)
    (tmp_path / "pairs" / "000" / "thesis.txt").touch()
    with pytest.raises(UserError, match=r"000: holds other things"):
        packed(corpus, tmp_path)
    assert (tmp_path / "pairs" / "000" / "thesis.txt").is_file()


def test_a_damaged_table_is_named(corpus, tmp_path):
    (tmp_path / "captions.parquet").write_bytes(b"no table")
    with pytest.raises(UserError, match=r"captions\.parquet: cannot be read as a table"):
        packed(corpus, tmp_path, flags={"captions": tmp_path / "captions.parquet"})
