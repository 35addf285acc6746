"""Pairs that are there already, as WebDataset tars or a CSV: their files, and reading them."""

import csv
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from braceexpand import UnbalancedBracesError, braceexpand

from workflow_scripts.lib.config_clip import PairFiles, PairsConfig, ZeroShotConfig
from workflow_scripts.lib.errors import UserError

PICTURES = ("jpg", "png", "jpeg", "webp")
"""Endings in a tar, in the order in which open_clip_train looks for them."""

MISSING = frozenset(
    {
        "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
        "NULL", "NaN", "None", "n/a", "nan", "null",
    }
)  # fmt: skip
"""Cells that open_clip_train, by pandas, takes for missing; the text `nan` would be learned instead."""


class OwnPair(NamedTuple):
    """A picture, as the bytes of its file, and its text; `name` is that of the file or sample."""

    name: str
    picture: bytes
    text: str


def expand_files(own: PairFiles) -> list[list[str]]:
    """The files that each of `own.files` stands for: `{000..099}` in a name is a range, as WebDataset has it."""
    try:
        return [list(braceexpand(name)) for name in own.files]
    except UnbalancedBracesError as error:
        raise UserError(f"clip.data: the braces of a name in `files` do not match ({error})") from None


def is_remote(name: str) -> bool:
    """Whether WebDataset is to fetch it, by its address or by a command."""
    return name.startswith("pipe:") or "://" in name


def local_files(data: PairsConfig, split: str) -> list[str]:
    """The own files of a split that lie here, none where it has no own ones; UserError names a missing one."""
    own = data.own(split)
    if own is None:
        return []
    files = [name for some in expand_files(own) for name in some]
    key = f"clip.data.{split}"
    for name in files:
        if is_remote(name):
            if own.samples is None:
                raise UserError(
                    f"{key}.samples: {name} is not on this machine, so its pairs are not counted; give their number"
                )
        elif not Path(name).is_file():
            raise UserError(
                f"{key}.files: there is no file {name}; mend the name, or the range in it (names are relative to the"
                " folder that snakemake is called in)"
            )
    return [name for name in files if not is_remote(name)]


def zeroshot_files(zeroshot: ZeroShotConfig | None) -> list[str]:
    """The folders of pictures, one a class, what they are in, and the file of classes where they are in one.

    A folder is another one when a picture comes or goes. UserError names what is not there.
    """
    if zeroshot is None:
        return []
    if not Path(zeroshot.images).is_dir():
        raise UserError(
            f"clip.zeroshot.images: there is no folder {zeroshot.images}; a folder of pictures for each class is expected"
            " in it"
        )
    folders = sorted(str(each) for each in Path(zeroshot.images).iterdir() if each.is_dir())
    if not isinstance(zeroshot.classes, str):
        return [zeroshot.images, *folders]
    if not Path(zeroshot.classes).is_file():
        raise UserError(
            f"clip.zeroshot.classes: there is no file {zeroshot.classes}; give one with a class a line, or a list of names"
        )
    return [zeroshot.images, *folders, zeroshot.classes]


def read_own(data: PairsConfig, split: str) -> Iterator[OwnPair]:
    """The own pairs of a split, in the order of its files; UserError names a file, and a line, that cannot be read."""
    local_files(data, split)
    for some in expand_files(data.own(split)):
        for name in some:
            yield from _read_table(Path(name), data) if data.dataset_type == "csv" else _read_tar(name)


def _read_table(file: Path, data: PairsConfig) -> Iterator[OwnPair]:
    for line, name, text in table_rows(file, data):
        try:
            picture = Path(name).read_bytes()
        except OSError:
            raise UserError(no_picture(file, line, name)) from None
        yield OwnPair(name, picture, text)


def _read_tar(name: str) -> Iterator[OwnPair]:
    # Imported here: the Snakefile needs this module, too. As open_clip_train reads them in training.
    from open_clip_train.data import group_by_keys_nothrow
    from webdataset.tariterators import tar_file_expander, url_opener

    try:
        for sample in group_by_keys_nothrow(tar_file_expander(url_opener([{"url": name}]))):
            picture = next((sample[ending] for ending in PICTURES if ending in sample), None)
            if picture is not None and "txt" in sample:
                yield OwnPair(sample["__key__"], picture, sample["txt"].decode())
    except (OSError, EOFError, tarfile.TarError, UnicodeDecodeError) as error:
        raise UserError(unreadable(name, error)) from None


def unreadable(name: str, error: Exception) -> str:
    """What is said of a tar that is none."""
    return f"{name}: cannot be read as a tar of pairs ({error}); fetch or make it again, or take it out of `clip.data`"


def no_picture(file: Path, line: int, name: str) -> str:
    """What is said of a row whose picture is not there."""
    said = f"{file}:{line}: there is no picture {name}; paths are relative to the folder that snakemake is called in"
    return said + (f", and this one is to {file.parent}" if (file.parent / name).is_file() else "")


def table_rows(file: Path, data: PairsConfig) -> Iterator[tuple[int, str, str]]:
    """Line, picture and caption of every row of a CSV; UserError names a line that open_clip_train would read wrongly."""
    wanted = {"csv_img_key": data.csv_img_key, "csv_caption_key": data.csv_caption_key}
    try:
        with file.open(encoding="utf-8-sig", newline="") as handle:
            lines = csv.reader(handle, delimiter=data.csv_separator, strict=True)
            header = next(lines, [])
            for name, column in wanted.items():
                if column not in header:
                    raise UserError(
                        f"{file}: no column {column!r} (clip.data.{name}) in the header, which with the separator"
                        f" {data.csv_separator!r} (clip.data.csv_separator) has {', '.join(map(repr, header)) or 'nothing'}"
                    )
            places = [(column, header.index(column)) for column in wanted.values()]
            for row in lines:
                if not row:
                    continue  # a blank line, which pandas leaves out, too
                if len(row) != len(header):
                    raise UserError(
                        f"{file}:{lines.line_num}: {len(row)} columns, and the header has {len(header)}; put a cell that"
                        f" holds the separator {data.csv_separator!r} in quotes"
                    )
                for column, place in places:
                    if row[place] in MISSING:
                        raise UserError(
                            f"{file}:{lines.line_num}: {column!r} is {row[place]!r}, which open_clip_train takes for"
                            " missing; fill it in, or take the line out"
                        )
                yield lines.line_num, *(row[place] for _, place in places)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f"{file}: cannot be read as a CSV in UTF-8 ({error}); mend it, or name another one"
        ) from None
