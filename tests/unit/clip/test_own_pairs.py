"""Own pairs: which files they are, how many are in them, and what is said of those that cannot be read."""

import gzip

import pandas as pd
import pytest
from open_clip_train.data import filter_no_caption_or_no_image, tarfile_to_samples_nothrow

from tests.unit.clip.fake_corpus import jpeg
from tests.unit.clip.own_files import write_members, write_own_table, write_own_tar
from workflow_scripts.lib.clip.own_counting import check_table, count_files, count_tar
from workflow_scripts.lib.clip.own_pairs import MISSING, expand_files, local_files, read_own, zeroshot_files
from workflow_scripts.lib.config_clip import PairFiles, PairsConfig, ZeroShotConfig
from workflow_scripts.lib.errors import UserError


def data(*files, **settings):
    return PairsConfig(train=PairFiles(files=[str(file) for file in files]), **settings)


def test_ranges_stand_for_files():
    own = PairFiles(files=["a/{008..011}.tar", "b.tar", "{c,d}.tar"])
    assert expand_files(own) == [
        ["a/008.tar", "a/009.tar", "a/010.tar", "a/011.tar"], ["b.tar"], ["c.tar", "d.tar"],
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"braces.*\{1"):
        expand_files(PairFiles(files=["{1..3.tar"]))


def test_a_missing_file_of_a_range_is_named(tmp_path):
    write_own_tar(tmp_path / "0.tar", 2)
    with pytest.raises(UserError, match=r"clip\.data\.train\.files: there is no file .*1\.tar"):
        local_files(data(tmp_path / "{0..1}.tar"), "train")
    assert local_files(data(tmp_path / "0.tar"), "val") == []


@pytest.mark.parametrize("name", ["pipe:aws s3 cp s3://b/1.tar -", "https://example.org/1.tar"])
def test_what_is_fetched_needs_its_number(name):
    with pytest.raises(UserError, match=r"clip\.data\.train\.samples: .*give their number"):
        local_files(data(name), "train")
    assert local_files(PairsConfig(train=PairFiles(files=[name], samples=9)), "train") == []


PICTURE, TEXT = jpeg("red", 0), b"text"
TARS = {
    "plain": ([("a.jpg", PICTURE), ("a.txt", TEXT), ("b.png", PICTURE), ("b.txt", TEXT)], 2),
    "folders, capitals, other members": (
        [("x/a.JPG", PICTURE), ("x/a.json", b"{}"), ("x/a.TXT", TEXT), ("y/a.txt", TEXT), ("y/a.webp", PICTURE)],
        2,
    ),
    "halves": ([("a.jpg", PICTURE), ("b.txt", TEXT), ("c.jpg", PICTURE), ("c.txt", TEXT)], 1),
    "apart": (
        [("a.jpg", PICTURE), ("b.jpg", PICTURE), ("a.txt", TEXT), ("b.txt", TEXT), ("c.jpg", PICTURE), ("c.txt", TEXT)],
        1,
    ),
    "one name twice": ([("a.jpg", PICTURE), ("a.txt", TEXT)] * 2, 2),
    "about the set": ([("__about__.txt", TEXT), ("__x.jpg", PICTURE), ("a.jpg", PICTURE), ("a.txt", TEXT)], 1),
    "long names": ([(f"{'긴 이름' * 40}/a.{ending}", PICTURE) for ending in ("jpg", "txt")], 1),
}  # fmt: skip


@pytest.mark.parametrize("kind", TARS)
def test_as_many_samples_as_open_clip_train_takes(tmp_path, kind):
    members, expected = TARS[kind]
    tar = write_members(tmp_path / "a.tar", members)
    taken = filter(filter_no_caption_or_no_image, tarfile_to_samples_nothrow([{"url": str(tar)}]))
    assert count_tar(str(tar)).samples == len(list(taken)) == expected


def test_a_compressed_tar(tmp_path):
    tar = write_own_tar(tmp_path / "a.tar", 3)
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(tar.read_bytes()))
    assert count_tar(str(tmp_path / "b.tar.gz")) == count_tar(str(tar))
    assert count_tar(str(tar)).samples == 3


def test_another_picture_is_another_identity(tmp_path):
    one = count_tar(str(write_own_tar(tmp_path / "a.tar", 3)))
    assert count_tar(str(write_own_tar(tmp_path / "a.tar", 3, first=7))).identity != one.identity
    assert count_tar(str(write_own_tar(tmp_path / "a.tar", 3))) == one


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read as a tar"),
        (b"no tar at all" * 100, "cannot be read as a tar"),
        (None, "cannot be read as a tar.*unexpected end"),
    ],
)
def test_what_is_no_tar(tmp_path, content, words):
    tar = write_own_tar(tmp_path / "a.tar", 3)
    tar.write_bytes(tar.read_bytes()[:700] if content is None else content)
    with pytest.raises(UserError, match=rf"a\.tar: {words}"):
        count_tar(str(tar))


def test_a_tar_without_pairs_tells_how_they_look(tmp_path):
    tar = write_members(tmp_path / "a.tar", [("a.b.jpg", PICTURE), ("a.b.txt", TEXT)])
    with pytest.raises(UserError, match=r"no pairs among its 2 members.*no other dot"):
        count_tar(str(tar))


def test_many_tars_are_counted_in_their_order(tmp_path):
    files = [str(write_own_tar(tmp_path / f"{number}.tar", number + 1)) for number in range(5)]
    found = list(count_files(files, data(*files)))
    assert [(name, counted.samples) for name, counted in found] == list(zip(files, range(1, 6), strict=True))


def test_a_damaged_tar_among_them_is_named(tmp_path):
    files = [str(write_own_tar(tmp_path / f"{number}.tar", 2)) for number in range(3)]
    (tmp_path / "1.tar").write_bytes(b"")
    with pytest.raises(UserError, match=r"1\.tar: cannot be read as a tar"):
        list(count_files(files, data(*files)))


def test_a_table_is_counted_as_pandas_reads_it(tmp_path):
    table = write_own_table(tmp_path / "a.csv", 3, ",", ("image", "말"))
    text = "\ufeff" + table.read_text(encoding="utf-8") + "\n\n" + f'{tmp_path / "a 0.jpg"},"two\nlines"\n'
    table.write_text(text, encoding="utf-8")
    settings = {"dataset_type": "csv", "csv_separator": ",", "csv_img_key": "image", "csv_caption_key": "말"}
    found = pd.read_csv(table)
    assert check_table(table, data(table, **settings)).samples == len(found) == 4
    pairs = list(read_own(data(table, **settings), "train"))
    assert [pair.text for pair in pairs] == found["말"].tolist()
    assert [pair.picture for pair in pairs] == [jpeg("blue", number) for number in (0, 1, 2, 0)]


HEADER = "filepath\ttitle\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"no column 'filepath' \(clip.data.csv_img_key\).*nothing"),
        ("filepath,title\nx.jpg,a\n", r"no column 'filepath'.*csv_separator\) has 'filepath,title'"),
        ("filepath\tcaption\nx.jpg\ta\n", r"no column 'title' \(clip.data.csv_caption_key\).*'filepath', 'caption'"),
        (HEADER, "no rows under the header"),
        (HEADER + "x.jpg\ta\n\nmissing.jpg\tb\n", r"own.csv:4: there is no picture missing.jpg; paths are relative"),
        (HEADER + "x.jpg\ta\nx.jpg\n", r"own.csv:3: 1 columns, and the header has 2"),
        (HEADER + "x.jpg\ta\tb\n", r"own.csv:2: 3 columns"),
        (HEADER + "x.jpg\t\n", r"own.csv:2: 'title' is '', which open_clip_train takes for missing"),
        (HEADER + "x.jpg\tnull\n", r"own.csv:2: 'title' is 'null'"),
        (HEADER + "\ta\n", r"own.csv:2: 'filepath' is ''"),
        (HEADER + 'x.jpg\t"a\n', "cannot be read as a CSV"),
        (HEADER.encode() + "x.jpg\t한국어\n".encode("cp949"), "cannot be read as a CSV in UTF-8"),
    ],
)  # fmt: skip
def test_lines_that_cannot_be_trained_on_are_named(tmp_path, monkeypatch, text, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.jpg").write_bytes(PICTURE)
    table = tmp_path / "own.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=words):
        check_table(table, data(table, dataset_type="csv"))


def test_pictures_beside_the_table_are_pointed_out(tmp_path):
    (tmp_path / "x.jpg").write_bytes(PICTURE)
    table = tmp_path / "own.csv"
    table.write_text(HEADER + "x.jpg\ta\n")
    with pytest.raises(UserError, match="called in, and this one is to"):
        check_table(table, data(table, dataset_type="csv"))


def test_what_pandas_takes_for_missing():
    from pandas._libs.parsers import STR_NA_VALUES

    assert set(STR_NA_VALUES) == MISSING


def test_own_tars_are_read_in_order(tmp_path):
    for number in range(2):
        write_own_tar(tmp_path / f"{number}.tar", 2, first=number)
    pairs = list(read_own(data(tmp_path / "{0..1}.tar"), "train"))
    assert [pair.text for pair in pairs] == [f"red 사각형 {number}" for number in (0, 1, 1, 2)]
    assert [pair.name for pair in pairs] == ["0/00000", "0/00001", "1/00001", "1/00002"]
    assert pairs[0].picture == jpeg("red", 0)
    (tmp_path / "1.tar").write_bytes(b"no tar")
    with pytest.raises(UserError, match=r"1\.tar: cannot be read as a tar of pairs"):
        list(read_own(data(tmp_path / "{0..1}.tar"), "train"))


def test_pictures_and_classes_of_zero_shot_are_looked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert zeroshot_files(None) == []
    setting = {"images": "그림", "classes": "종류.txt"}
    with pytest.raises(UserError, match=r"clip\.zeroshot\.images: there is no folder 그림"):
        zeroshot_files(ZeroShotConfig(**setting))
    (tmp_path / "그림").mkdir()
    with pytest.raises(UserError, match=r"clip\.zeroshot\.classes: there is no file 종류\.txt"):
        zeroshot_files(ZeroShotConfig(**setting))
    (tmp_path / "종류.txt").touch()
    for name in ("b", "a"):
        (tmp_path / "그림" / name).mkdir()
    (tmp_path / "그림/note.txt").touch()
    folders = ["그림", "그림/a", "그림/b"]
    assert zeroshot_files(ZeroShotConfig(**setting)) == [*folders, "종류.txt"]
    assert zeroshot_files(ZeroShotConfig(images="그림", classes=["a", "b"])) == folders
