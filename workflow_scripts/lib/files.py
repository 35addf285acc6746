"""Files that are written whole or not at all, and their digests."""

import contextlib
import csv
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; it is flushed and renamed to `path` when the block succeeds.

    UserError, at once, where `path` is a folder.
    """
    path = Path(path)
    refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # one name: what a killed attempt left is written over
    try:
        yield temporary
        put_in_place(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def put_in_place(temporary: Path, path: Path) -> None:
    """Give a finished file its name, once it is on the disk."""
    with temporary.open("rb") as handle:
        os.fsync(handle.fileno())
    _share(temporary)
    temporary.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot flush a folder
            os.fsync(folder)
    finally:
        os.close(folder)


@contextlib.contextmanager
def whole_folder(path: Path, made_of: str | None = None) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it takes the place of `path` when the block succeeds.

    `made_of` is a file that such folders have: UserError, at once, where `path` holds something, but not that file.
    """
    path = Path(path)
    if made_of:
        refuse_other_things(path, made_of)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of a killed attempt
    temporary.mkdir()
    try:
        yield temporary
        for made in (temporary, *temporary.rglob("*")):
            _share(made)
        shutil.rmtree(path, ignore_errors=True)
        temporary.replace(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def refuse_folder(path: Path) -> None:
    """UserError where a folder is in the place of a file that is to be written."""
    if path.is_dir():
        raise UserError(
            f"{path}: is a folder, and a file is to be written there; give another name, or remove it"
        )


def refuse_other_things(path: Path, made_of: str) -> None:
    """UserError where `path`, which a folder with the file `made_of` is to replace, holds something else."""
    if (path / made_of).is_file() or (path.is_dir() and not any(path.iterdir())):
        return
    if path.exists():
        what = "holds other things" if path.is_dir() else "is a file"
        raise UserError(
            f"{path}: {what} (there is no {made_of} in it), and would be replaced; give another folder, or remove it"
        )


def _share(path: Path) -> None:
    """Give it the rights that the user's umask asks for; temporary folders and safetensors are made private."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def write_json(path: Path, data: Any) -> None:
    """Write indented UTF-8 JSON, whole or not at all; NaN is refused."""
    with whole_file(path) as temporary:
        temporary.write_text(
            json.dumps(data, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows under a header, whole or not at all; blank where a row lacks a column."""
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, columns)
        writer.writeheader()
        writer.writerows(rows)


def read_json(path: Path) -> Any:
    """Read JSON; UserError names a file that is missing or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from None


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with Path(path).open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def text_digest(parts: Iterable[str]) -> str:
    """SHA-256 over texts, each with its length, in hex."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
