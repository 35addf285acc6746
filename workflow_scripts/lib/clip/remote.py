"""The copy that open_clip_train makes of a run's folder elsewhere: what is in it, fetched from it, moved out of the way."""

import shutil
import subprocess
from pathlib import Path

from fsspec.core import url_to_fs

from workflow_scripts.lib.config_clip import ClipConfig
from workflow_scripts.lib.errors import UserError

PREVIOUS = ".previous"


class FsspecCopy:
    """In a folder, or at an address that fsspec knows."""

    def __init__(self, place: str):
        self.place = place
        self.system, self.path = url_to_fs(place)

    def names(self, folder: str = "") -> list[str]:
        """Names of what is in the copy, or in a folder of it; none where there is no such folder."""
        path = f"{self.path}/{folder}".rstrip("/")
        return (
            [Path(one).name for one in self.system.ls(path, detail=False)] if self.system.isdir(path) else []
        )

    def fetch(self, name: str, target: Path) -> None:
        """One of its files, as `target`."""
        self.system.get_file(f"{self.path}/{name}", str(target))

    def set_aside(self) -> None:
        """Call it `<name>.previous`, in the place of what was called so."""
        previous = self.path + PREVIOUS
        if self.names():
            if self.system.isdir(previous):
                self.system.rm(previous, recursive=True)
            self.system.mv(self.path, previous, recursive=True)


class AwsCopy:
    """In a bucket of S3, by the program `aws`; the same methods."""

    def __init__(self, place: str):
        self.place = place

    def names(self, folder: str = "") -> list[str]:
        listed = _aws("ls", f"{self.place}/{folder}".rstrip("/") + "/")
        return [line.split()[-1].rstrip("/") for line in listed.splitlines()]

    def fetch(self, name: str, target: Path) -> None:
        _aws("cp", f"{self.place}/{name}", str(target))

    def set_aside(self) -> None:
        if self.names():
            _aws("rm", "--recursive", f"{self.place}{PREVIOUS}/")
            _aws("mv", "--recursive", f"{self.place}/", f"{self.place}{PREVIOUS}/")


RemoteCopy = FsspecCopy | AwsCopy


def remote_copy(config: ClipConfig, name: str) -> RemoteCopy | None:
    """The copy of the run `name`, there or not; None without `remote_sync`. UserError where nothing can be copied to."""
    if config.remote_sync is None:
        return None
    place = f"{config.remote_sync.rstrip('/')}/{name}"
    if config.remote_sync_protocol == "s3":
        if shutil.which("aws") is None:
            raise UserError(
                "clip.remote_sync_protocol: `s3` calls the program `aws`, which is not here; install it, or write `fsspec`"
            )
        return AwsCopy(place)
    try:
        return FsspecCopy(place)
    except (ImportError, ValueError) as error:
        raise UserError(
            f"clip.remote_sync: {config.remote_sync} cannot be reached ({error}); mend the address, or install what it needs"
        ) from None


def _aws(*words: str) -> str:
    """What `aws s3` says; where there is nothing to list, it says nothing and ends with 1."""
    done = subprocess.run(["aws", "s3", *words], capture_output=True, text=True)
    if done.returncode and (done.returncode != 1 or done.stderr):
        raise UserError(
            f"clip.remote_sync: `aws s3 {' '.join(words)}` ended with {done.returncode}: {done.stderr.strip()}"
        )
    return done.stdout
