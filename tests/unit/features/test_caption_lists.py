"""The captions of the videos that have features, as caption files and as tables."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.unit.features.small_corpus import change_table, write_features, write_tables
from workflow_scripts.lib.corpus.tables import CAPTIONS
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.caption_lists import TABLE, caption_table, list_captions
from workflow_scripts.lib.features.index import memory_map


@pytest.fixture
def root(tmp_path):
    """Features of eight videos, of which video 5 has none, beside the tables of their corpus."""
    write_tables(tmp_path / "corpus")
    return write_features(tmp_path / "특징", without=(5,))


def listed(root, name="웹") -> dict[str, int]:
    return list_captions(root, root.parent / "corpus", name, 2)


def rows_of(root, split) -> list[dict]:
    return pa.ipc.open_file(caption_table(root, split)).read_all().to_pylist()


def test_tables_hold_the_captions_as_they_are_in_the_corpus_s_order(root):
    assert listed(root) == {"train": 5, "val": 2, "test": 6}
    assert [(row["video"], row["caption"]) for row in rows_of(root, "train")] == [
        (0, 0), (1, 0), (1, 1), (1, 2), (4, 0),
    ]  # fmt: skip
    assert rows_of(root, "train")[2] == {"video": 1, "caption": 1, "language": "ko", "text": "영상\n 1번"}
    assert [row["text"] for row in rows_of(root, "test")][2::3] == ["", ""]
    assert {row["video"] for row in rows_of(root, "val")} == {2, 6}


def test_caption_files_have_a_line_a_caption(root):
    listed(root)
    lines = (root / "TextData/웹train.caption.txt").read_bytes().decode().split("\n")
    assert lines == [
        "vid_0#cap_0 video 0", "vid_1#cap_0 video 1", "vid_1#cap_1 영상 1번", "vid_1#cap_2 ", "vid_4#cap_0 video 4", "",
    ]  # fmt: skip


def test_whatever_counts_as_white_space_becomes_one_blank(root):
    blanks = "".join(chr(code) for code in range(0x110000) if chr(code).isspace())
    text = f"{blanks}a{blanks}{blanks}b\u200bc\x00{blanks}"
    change_table(
        root.parent / "corpus/captions_000.parquet", lambda rows: [{**rows[0], "text": text}, *rows[1:]]
    )
    listed(root)
    first = (root / "TextData/웹train.caption.txt").read_bytes().split(b"\n")[0].decode()
    assert first == "vid_0#cap_0 " + " ".join(text.split())
    assert rows_of(root, "train")[0]["text"] == text


def test_captions_of_videos_without_features_are_left_out_and_counted(root, capsys):
    listed(root)
    assert "3 captions of videos without features are left out" in capsys.readouterr().out


def test_a_table_is_one_record_batch_that_is_mapped_as_it_is(root):
    listed(root)
    reader = pa.ipc.open_file(memory_map(caption_table(root, "test")))
    assert reader.schema.equals(TABLE)
    assert reader.num_record_batches == 1
    before = pa.total_allocated_bytes()
    batch = reader.get_batch(0)
    assert np.from_dlpack(batch["video"]).tolist() == [3, 3, 3, 7, 7, 7]
    assert pa.total_allocated_bytes() - before < 1000


def test_a_split_without_captions_has_its_files_too(root):
    for shard in (0, 1):
        change_table(
            root.parent / f"corpus/captions_{shard:03d}.parquet",
            lambda rows: [row for row in rows if row["split"] != "val"],
        )
    assert listed(root)["val"] == 0
    assert rows_of(root, "val") == []
    assert (root / "TextData/웹val.caption.txt").read_bytes() == b""


def test_shards_with_other_languages_get_one_dictionary(root):
    change_table(
        root.parent / "corpus/captions_001.parquet",
        lambda rows: [{**row, "language": "zh" if row["caption"] else "ko"} for row in rows],
    )
    listed(root)
    assert [row["language"] for row in rows_of(root, "test")] == ["en", "ko", "en", "ko", "zh", "zh"]
    assert [row["language"] for row in rows_of(root, "train")] == ["en", "en", "ko", "en", "ko"]


def test_texts_of_many_row_groups_and_slices(root):
    """What the offsets of texts are counted from differs from part to part."""
    rows = [
        {"video": 0, "caption": j, "key": f"vid_0#cap_{j}", "split": "train" if j < 0 else "test", "language": "en",
         "text": "가" * (j % 7), "attributes": []}
        for j in range(1000)
    ]  # fmt: skip
    file = root.parent / "corpus/captions_000.parquet"
    pq.write_table(pa.Table.from_pylist(rows, CAPTIONS), file, row_group_size=64)
    assert listed(root)["test"] == 1003
    assert [row["text"] for row in rows_of(root, "test")][:1000] == [row["text"] for row in rows]


def test_a_failure_leaves_no_file(root):
    change_table(root.parent / "corpus/captions_001.parquet", lambda rows: [*rows, rows[-1]])
    with pytest.raises(UserError, match=r"captions_001\.parquet: vid_7#cap_2 is there twice"):
        listed(root)
    assert not list(root.glob("*.arrow")) + list(root.glob(".*")) + list(root.rglob("*.caption.txt"))


def test_tables_replace_those_of_before_and_are_the_same_again(root):
    listed(root)
    before = {file.name: file.read_bytes() for file in root.glob("*.arrow")}
    listed(root)
    assert before == {file.name: file.read_bytes() for file in root.glob("*.arrow")}
    assert len(before) == 3
