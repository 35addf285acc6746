"""Paths that stay inside the corpus root."""

# os.path, not pathlib: this is asked for every one of ten million videos.
# ruff: noqa: PTH100, PTH114, PTH118

import os.path
from pathlib import Path

FOLDERS_KEPT = 100_000


class CorpusRoot:
    """The folder that all videos lie in. The files themselves need not be there."""

    def __init__(self, folder: Path):
        self.folder = os.path.abspath(folder)
        self._real = os.path.realpath(folder)
        self._real_folders: dict[str, str] = {}

    def relative(self, path: str) -> str | None:
        """An annotated path, relative or absolute, as one relative to the root; None when it leads outside.

        Symbolic links are followed to find out, of folders and of the file itself.
        """
        whole = os.path.normpath(os.path.join(self.folder, path))
        folder, name = os.path.split(whole)
        real = os.path.join(self._real_folder(folder), name)
        if os.path.islink(real):
            real = os.path.realpath(real)
        if not real.startswith(self._real.rstrip("/") + "/"):
            return None
        prefix = self.folder.rstrip("/") + "/"
        # An absolute path may reach the root by another name, and then only its real one tells where in it.
        return whole.removeprefix(prefix) if whole.startswith(prefix) else os.path.relpath(real, self._real)

    def _real_folder(self, folder: str) -> str:
        if folder not in self._real_folders:
            if len(self._real_folders) >= FOLDERS_KEPT:
                self._real_folders.clear()
            self._real_folders[folder] = os.path.realpath(folder)
        return self._real_folders[folder]
