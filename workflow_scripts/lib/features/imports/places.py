"""Where an import works, and how its result gets its place: all of it or nothing, also when it is killed on the way."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import read_json, write_json

WORK = ".import"  # in the folder itself, so that moving is renaming; Snakemake does not know of it
MADE_OF = "made_of.json"
MOVED = "moved.json"
MADE = ".imported.json"  # in the first folder, when all is done: what the import has put into all of them


class TryAgain(UserError):
    """What is wrong is not the source: what is done is kept."""


class Places:
    """The folders that an import fills, each by way of a hidden folder inside of it."""

    def __init__(self, folders: list[Path], made_of: dict[str, Any], last: tuple[str, ...]):
        """`made_of`, as JSON: all that decides about the result; work of another import is not gone on with.

        `last`: names of the files that are moved after all others, since readers start from them.
        """
        self.folders, self.made_of, self.last = folders, made_of, last
        self.work = [folder / WORK for folder in folders]

    def moved(self) -> bool:
        """Whether all was there but for some moving, when a former import of the same was killed; now it is done."""
        if (self.work[0] / MOVED).is_file() and self._is_of_this(self.work[0]):
            files = self._listed()
            if all((work / file).is_file() or (folder / file).is_file() for folder, work, file in files):
                self._move(files)
                return True
            self._forget()  # somebody has removed what was in place
        elif not all(self._is_of_this(work) for work in self.work):
            self._forget()
        return False

    def remove_rest(self) -> None:
        """Remove what is left of a finished import that readers cannot start from any more.

        Snakemake, which makes it again, takes away what it knows of: not the sidecars, and with fewer shards than
        before not the last of them.
        """
        made = self.folders[0] / MADE
        if made.is_file():
            files = [self.folders[number] / file for number, file in read_json(made)]
            if not all(file.is_file() for file in files if file.name in self.last):
                for file in files:
                    file.unlink(missing_ok=True)
                made.unlink()

    def refuse_others(self) -> None:
        """UserError when a folder holds other files, but for hidden ones."""
        for folder in self.folders:
            if folder.exists() and not folder.is_dir():
                raise UserError(f"{folder}: is no folder; remove it, or give another place")
            for file in sorted(folder.rglob("*")):
                inside = file.relative_to(folder)
                hidden = any(part.startswith(".") for part in inside.parts)
                if not (hidden or file.is_dir()):
                    raise UserError(
                        f"{folder}: is there already and not empty, it holds {inside}; remove it, or give another folder"
                    )

    @contextmanager
    def filled(self) -> Iterator[list[Path]]:
        """The hidden folders, with what a killed import of the same has left; their files take their places at the end."""
        for work in self.work:
            work.mkdir(parents=True, exist_ok=True)
            write_json(work / MADE_OF, self.made_of)
        try:
            yield self.work
        except TryAgain:
            raise
        except UserError:  # trying again will not help
            self._forget()
            for folder in self.folders:
                with suppress(OSError):  # not empty
                    folder.rmdir()
            raise
        made = [
            (number, str(file.relative_to(work)))
            for number, work in enumerate(self.work)
            for file in sorted(work.rglob("*"))
            if file.is_file() and file.name != MADE_OF and not file.name.startswith(".")
        ]
        write_json(self.work[0] / MOVED, sorted(made, key=lambda entry: Path(entry[1]).name in self.last))
        self._move(self._listed())

    def _is_of_this(self, work: Path) -> bool:
        return (work / MADE_OF).is_file() and read_json(work / MADE_OF) == self.made_of

    def _listed(self) -> list[tuple[Path, Path, str]]:
        """Folder, hidden folder and name of all that is moved, in this order."""
        listed = read_json(self.work[0] / MOVED)
        return [(self.folders[number], self.work[number], file) for number, file in listed]

    def _move(self, files: list[tuple[Path, Path, str]]) -> None:
        for folder, work, file in files:
            if (work / file).is_file():
                (folder / file).parent.mkdir(parents=True, exist_ok=True)
                (work / file).replace(folder / file)
        (self.work[0] / MOVED).replace(self.folders[0] / MADE)
        for work in self.work:
            shutil.rmtree(work, ignore_errors=True)

    def _forget(self) -> None:
        """Remove all work, and what was moved of it."""
        if (self.work[0] / MOVED).is_file():
            for folder, _, file in self._listed():
                (folder / file).unlink(missing_ok=True)
        for work in self.work:
            shutil.rmtree(work, ignore_errors=True)
