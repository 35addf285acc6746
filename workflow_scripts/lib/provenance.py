"""Where a number comes from: code, configuration, packages, device, seed and inputs."""

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from workflow_scripts.lib.files import file_digest

PACKAGES = (
    "torch", "open_clip_torch", "transformers", "peft", "bitsandbytes", "av", "decord", "h5py", "faiss-cpu", "numpy",
    "sacrebleu", "pycocoevalcap", "nltk", "kiwipiepy", "rapidfuzz", "snakemake",
)  # fmt: skip


def provenance(
    *,
    inputs: Iterable[Path] = (),
    config: Path | None = None,
    seed: int | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """What every metrics file holds under `provenance`.

    `inputs` are files whose SHA-256 is recorded; `config` is the frozen section that was used.
    """
    return {
        "commit": git_commit(),
        "config_sha256": file_digest(config) if config else None,
        "seed": seed,
        "device": device or platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "inputs_sha256": {str(path): file_digest(path) for path in inputs},
    }


def git_commit() -> str | None:
    """The checked-out commit, `-dirty` behind it when tracked files differ; None outside a checkout."""
    root = Path(__file__).parents[2]
    try:
        return subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
