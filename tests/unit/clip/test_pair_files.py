"""What a training reads: packed pairs and own ones, how many, and by how many workers."""

import csv
import os
import threading
from pathlib import Path

import pandas as pd
import pytest

from tests.unit.clip import pipeline
from tests.unit.clip.fake_corpus import make_corpus, write_configs
from tests.unit.clip.own_files import write_own_table, write_own_tar
from workflow_scripts.lib.clip import own_counting, pair_files
from workflow_scripts.lib.clip.pair_files import COUNTS, Pairs, few_enough, find_pairs, usable_workers
from workflow_scripts.lib.config_clip import PairFiles, PairsConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import write_json


def pairs(*counts):
    return Pairs([f"{i}.tar" for i in range(len(counts))], list(counts))


def write_counts(folder, shards, split="train", identity=""):
    for shard, counts in enumerate(shards):
        made = {"pairs": {split: counts}, "sha256": {split: f"{identity}{shard}"}}
        write_json(folder / f"{shard:03d}" / COUNTS, made)


def test_the_tars_of_all_shards(tmp_path):
    write_counts(tmp_path, [[5, 4], [], [7]])
    found = find_pairs(PairsConfig(), tmp_path, 3, "train", tmp_path / "scratch")
    assert [str(tar.relative_to(tmp_path)) for tar in found.files] == [
        "000/train_000.tar", "000/train_001.tar", "002/train_000.tar",
    ]  # fmt: skip
    assert (found.counts, found.total) == ([5, 4, 7], 16)
    assert find_pairs(PairsConfig(), tmp_path, 2, "train", tmp_path).total == 9
    write_counts(tmp_path, [[5, 4], [], [7]], identity="other")
    assert find_pairs(PairsConfig(), tmp_path, 3, "train", tmp_path).identity != found.identity
    with pytest.raises(UserError, match=r"003.counts.json: missing; 4 shards"):
        find_pairs(PairsConfig(), tmp_path, 4, "train", tmp_path)


def test_validation_is_bounded_and_training_is_not(tmp_path):
    for split in ("train", "val"):
        write_counts(tmp_path, [[6000, 6000], [6000]], split)
        found = find_pairs(PairsConfig(), tmp_path, 2, split, tmp_path / "scratch")
        assert found.total == {"train": 18000, "val": 6000}[split]
    assert few_enough(pairs(6, 6, 6), most=12).total == 12
    assert few_enough(pairs(60, 6), most=12).total == 60
    assert few_enough(pairs(), most=12).total == 0


def test_synthetic_pairs_are_no_files(tmp_path):
    data = PairsConfig(dataset_type="synthetic", samples=77)
    found = [find_pairs(data, None, 2, split, tmp_path) for split in ("train", "val")]
    assert [(one.files, one.total) for one in found] == [([], 77), ([], 0)]


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A corpus of two shards, packed as tables by the command."""
    folder = make_corpus(tmp_path_factory.mktemp("tables"))
    write_configs(folder, data={"dataset_type": "csv", "frames_per_caption": 1})
    pipeline.pack(folder)
    return folder


def test_tables_of_all_shards_become_one_that_open_clip_train_reads(tables, tmp_path):
    settings = {"csv_separator": ",", "csv_img_key": "그림", "csv_caption_key": "말"}
    data = PairsConfig(dataset_type="csv", **settings)
    found = find_pairs(data, tables / "pairs", 2, "train", tmp_path)
    [table] = found.files
    rows = pd.read_csv(table)
    assert list(rows) == ["그림", "말"] and len(rows) == found.total == 8 * 4
    assert all(Path(name).is_file() for name in rows["그림"])
    assert rows["그림"].str.contains("/000/").sum() == rows["그림"].str.contains("/001/").sum() == 16
    written = table.stat().st_mtime_ns
    assert find_pairs(data, tables / "pairs", 2, "train", tmp_path) == found
    assert table.stat().st_mtime_ns == written
    other = find_pairs(PairsConfig(dataset_type="csv"), tables / "pairs", 2, "train", tmp_path)
    assert other.files != found.files and list(tmp_path.iterdir()) == other.files


def test_validation_tables_are_bounded(tables, tmp_path, monkeypatch):
    monkeypatch.setattr(pair_files, "MAX_VAL_PAIRS", 5)
    found = find_pairs(PairsConfig(dataset_type="csv"), tables / "pairs", 2, "val", tmp_path)
    assert found.total == len(pd.read_csv(found.files[0], sep="\t")) == 5


def test_a_caption_that_pandas_takes_for_missing_stays_a_text(tables, tmp_path):
    folder = tmp_path / "pairs" / "000"
    folder.mkdir(parents=True)
    write_json(folder / COUNTS, {"pairs": {"train": [3]}, "sha256": {"train": "0"}})
    with (folder / "train.tsv").open("w", encoding="utf-8", newline="") as handle:
        texts = ["None", "a\tb", 'two\n"lines"']
        csv.writer(handle, delimiter="\t").writerows(
            [("filepath", "title"), *(("x.jpg", one) for one in texts)]
        )
    data = PairsConfig(dataset_type="csv")
    [table] = find_pairs(data, tmp_path / "pairs", 1, "train", tmp_path).files
    assert [one.strip() for one in pd.read_csv(table, sep="\t")["title"]] == texts


def test_own_tars_are_counted_once(tmp_path, monkeypatch, capsys):
    files = [write_own_tar(tmp_path / f"{number}.tar", number + 2) for number in range(3)]
    data = PairsConfig(train=PairFiles(files=[str(tmp_path / "{0..2}.tar")]))
    found = find_pairs(data, None, 1, "train", tmp_path / "scratch")
    assert (found.files, found.counts) == ([str(file) for file in files], [2, 3, 4])
    assert "counting the pairs of 3 files" in capsys.readouterr().out

    counted = []
    real = own_counting.count_files
    monkeypatch.setattr(
        pair_files, "count_files", lambda names, data: counted.extend(names) or real(names, data)
    )
    assert find_pairs(data, None, 1, "train", tmp_path / "scratch") == found
    assert counted == []
    os.utime(files[1], ns=(1, 1))  # touched: looked at again, and the same
    assert find_pairs(data, None, 1, "train", tmp_path / "scratch") == found
    assert counted == [str(files[1])]
    write_own_tar(files[2], 9)
    assert find_pairs(data, None, 1, "train", tmp_path / "scratch").identity != found.identity


def test_other_processes_wait_for_the_first(tmp_path, monkeypatch):
    write_own_tar(tmp_path / "a.tar", 3)
    data = PairsConfig(train=PairFiles(files=[str(tmp_path / "a.tar")]))
    monkeypatch.setenv("RANK", "1")
    found = []
    waiting = threading.Thread(target=lambda: found.append(find_pairs(data, None, 1, "train", tmp_path)))
    waiting.start()
    waiting.join(0.3)
    assert waiting.is_alive() and not list(tmp_path.glob("*.json"))
    monkeypatch.setenv("RANK", "0")
    first = find_pairs(data, None, 1, "train", tmp_path)
    waiting.join(10)
    assert found == [first]


def test_a_weight_belongs_to_all_tars_of_a_range(tmp_path):
    for number in range(3):
        write_own_tar(tmp_path / f"{number}.tar", 2)
    own = PairFiles(files=[str(tmp_path / "{0..1}.tar"), str(tmp_path / "2.tar")], upsampling=[1, 2.5])
    found = find_pairs(PairsConfig(train=own, dataset_resampled=True), None, 1, "train", tmp_path)
    assert found.weights == [1, 1, 2.5] and len(found.files) == 3


def test_told_numbers_are_taken(tmp_path):
    own = PairFiles(files=["pipe:cat {0..2}.tar"], samples=10)
    found = find_pairs(PairsConfig(train=own), None, 1, "train", tmp_path)
    assert found.files == [f"pipe:cat {number}.tar" for number in range(3)]
    assert found.counts == [4, 3, 3] and not list(tmp_path.iterdir())


def test_an_own_table_is_one_file_and_is_checked(tmp_path):
    table = write_own_table(tmp_path / "a.csv", 5)
    data = PairsConfig(dataset_type="csv", val=PairFiles(files=[str(table)]))
    found = find_pairs(data, None, 1, "val", tmp_path / "scratch")
    assert (found.files, found.counts) == ([str(table)], [5])
    (tmp_path / "a 3.jpg").unlink()
    table.write_text(table.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"a\.csv:5: there is no picture"):
        find_pairs(data, None, 1, "val", tmp_path / "scratch")


def test_neither_packed_nor_own_pairs(tmp_path):
    with pytest.raises(UserError, match=r"no clip\.data\.val"):
        find_pairs(PairsConfig(), None, 2, "val", tmp_path)


def test_own_training_is_validated_on_the_corpus_only_where_it_says_so(tmp_path, capsys):
    write_counts(tmp_path, [[7]], "val")
    own = {"train": {"files": ["mine.tar"]}}
    found = find_pairs(PairsConfig(**own), tmp_path, 1, "val", tmp_path / "scratch")
    assert (found.files, found.total) == ([], 0)
    assert "no validation: clip.data.val names no pairs" in capsys.readouterr().out
    assert find_pairs(PairsConfig(**own, val="corpus"), tmp_path, 1, "val", tmp_path / "scratch").total == 7


def test_own_validation_is_bounded(tmp_path):
    many = PairFiles(files=["pipe:cat {0..2}.tar"], samples=pair_files.MAX_VAL_PAIRS)
    assert find_pairs(PairsConfig(val=many), None, 1, "val", tmp_path).total == 10_000
    more = many.model_copy(update={"samples": 10_001})
    with pytest.raises(UserError, match=r"clip\.data\.val: 10001 pairs, .* 10000 at most"):
        find_pairs(PairsConfig(val=more), None, 1, "val", tmp_path)
    assert find_pairs(PairsConfig(train=more), None, 1, "train", tmp_path).total == 10_001


@pytest.mark.parametrize(
    ("counts", "wanted", "ranks", "batch", "usable"),
    [
        ((100, 100), 2, 1, 50, 2),
        ((100, 100), 4, 1, 50, 2),  # a tar is read by one worker
        ((100, 10), 2, 1, 50, 1),  # the worker with the small tar could not fill a batch
        ((100,), 3, 1, 100, 1),
        ((100, 100, 100, 100), 2, 2, 100, 2),
        ((10, 10), 0, 1, 20, 0),
    ],
)
def test_workers_that_the_tars_allow(counts, wanted, ranks, batch, usable):
    assert usable_workers(pairs(*counts), wanted, ranks, batch, PairsConfig()) == usable


def test_tables_and_drawn_tars_allow_any_number_of_workers():
    table = PairsConfig(dataset_type="csv")
    assert usable_workers(pairs(10), 8, 2, 5, table) == 8
    assert usable_workers(pairs(10, 1), 8, 4, 50, PairsConfig(dataset_resampled=True)) == 8
    with pytest.raises(
        UserError, match=r"clip\.batch_size: 12 over 2 processes.*10 training pairs; .*at most 10"
    ):
        usable_workers(pairs(10), 8, 2, 6, table)


@pytest.mark.parametrize(
    "data", [PairsConfig(), PairsConfig(dataset_type="csv"), PairsConfig(dataset_resampled=True)]
)
def test_no_pairs_at_all(data):
    with pytest.raises(UserError, match="no training pairs"):
        usable_workers(pairs(), 1, 1, 1, data)


def test_a_batch_larger_than_the_data_names_the_largest_possible():
    with pytest.raises(UserError, match="at most 15"):
        usable_workers(pairs(10, 5), 2, 1, 16, PairsConfig())
    with pytest.raises(UserError, match=r"2 tars of training pairs for 3 processes.*pairs_per_tar"):
        usable_workers(pairs(10, 5), 2, 3, 1, PairsConfig())
    with pytest.raises(UserError, match="at most 8"):
        usable_workers(pairs(9, 4), 1, 2, 5, PairsConfig())
