"""The files that an import reads, told before the DAG is built: when one of them changes, the import runs again.

Imports nothing heavy: every process of Snakemake asks.
"""

import glob
from pathlib import Path

from workflow_scripts.lib.config_features import ImportedEncoder
from workflow_scripts.lib.errors import UserError

# By format, below the source. Where it holds several features of which one is named, these are the files of all.
CAPTIONS = "*.caption.txt"
TEXTS = [f"TextData/{CAPTIONS}", "TextData/*.hdf5", "TextData/*.h5"]
PATTERNS = {
    "webvid_pt": ["*.pt"],
    "bigfile": ["FeatureData/**/*.txt", "FeatureData/**/*.bin", *TEXTS],
    "hdf5": ["FeatureData/**/*.hdf5", "FeatureData/**/*.h5", *TEXTS],
    "sharded": [
        "*_manifest.json",
        "*_meta.json",
        *(f"{folder}/**/*{suffix}" for folder in ("FeatureData", "TextData") for suffix in (".hdf5", ".h5")),
        *(CAPTIONS, f"TextData/{CAPTIONS}"),
    ],
}


def source_files(encoder: ImportedEncoder) -> list[str]:
    """The files of the features, sorted. UserError when the folder or the captions are missing, or there is no such file."""
    key = f"features.encoders: '{encoder.name}'"
    if not encoder.source.is_dir():
        raise UserError(
            f"{key}: source {encoder.source}: no such folder; give the one that holds the features"
        )
    if encoder.captions and not encoder.captions.is_file():
        raise UserError(
            f"{key}: captions {encoder.captions}: no such file; give the CSV of the captions' texts"
        )
    patterns = PATTERNS[encoder.format]
    files = files_below(encoder.source, *patterns)
    if not files:
        raise UserError(
            f"{key}: source {encoder.source}: holds no file of format {encoder.format} ({', '.join(patterns)})"
        )
    return [str(file) for file in files]


def files_below(folder: Path, *patterns: str) -> list[Path]:
    """The files of any of these patterns, sorted; with `**`, links to folders are followed. None that is hidden."""
    found = {name for pattern in patterns for name in glob.glob(pattern, root_dir=folder, recursive=True)}  # noqa: PTH207 - Path.glob follows none
    return sorted(Path(folder, name) for name in found)
