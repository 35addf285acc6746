"""Tools of others, as installed from the package registry, each in an environment of its own."""

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rounds import DidNotRun

INSTALL_S = 600


@dataclass(frozen=True)
class Tool:
    """A package; `with_it` are further requirements without which it does not run, and why."""

    name: str
    with_it: tuple[str, ...] = ()
    why: str | None = None
    old_python: bool = False


TOOLS = (
    Tool(
        "video2dataset",
        ("pyarrow<18",),
        "the pyarrow that its requirements allow does not work with the numpy that they demand",
    ),
    Tool(
        "clip-video-encode", why="demands torch<2, of which there is none for newer Pythons", old_python=True
    ),
)


def install(tool: Tool, folder: Path, old_python: str) -> str:
    """The Python of the tool's environment in `folder`, made unless it is there. DidNotRun says why it cannot be."""
    home = folder / tool.name
    python, installed = home / "bin" / "python", home / "installed"
    if installed.exists():
        return str(python)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if uv is None:
        raise DidNotRun("uv, which makes its environment, is not installed")
    print(f"installing {tool.name}", flush=True)
    _run(
        uv,
        "venv",
        "--quiet",
        "--clear",
        "--python",
        old_python if tool.old_python else sys.executable,
        str(home),
    )
    _run(uv, "pip", "install", "--quiet", "--python", str(python), tool.name, *tool.with_it)
    installed.touch()
    return str(python)


def version(python: str, tool: Tool) -> str:
    """The version that is installed."""
    ask = f"from importlib.metadata import version; print(version({tool.name!r}))"
    return subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)
    except subprocess.TimeoutExpired:
        raise DidNotRun(f"not installed after {INSTALL_S} s") from None
    except subprocess.CalledProcessError as error:
        raise DidNotRun(_conclusion(error.stderr)) from None


def _conclusion(message: str) -> str:
    """The last step of uv's explanation, which it breaks into lines anywhere; hints about other things follow it."""
    text = " ".join(message.partition("hint:")[0].split())
    return re.split(r"(?:error|cause): |And because ", text)[-1]
