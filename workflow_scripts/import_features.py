"""Take features that were extracted elsewhere into the pipeline: as corpus tables and HDF5 shards of features."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.features.imports.run import FORMATS, Import, import_features


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=sorted(FORMATS), required=True, help="format of the features")
    parser.add_argument("--source", type=Path, required=True, help="folder of the features to import")
    parser.add_argument("--root", type=Path, required=True, help="folder of features to write, new or empty")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of tables to write, new or empty")
    parser.add_argument("--name", required=True, help="the corpus's name, for the caption files")
    parser.add_argument("--videos-per-shard", type=int, default=50_000, help="videos a shard (50000)")
    parser.add_argument("--shards", type=int, help="refuse a source that fills another number of shards")
    parser.add_argument(
        "--captions", type=Path, help="webvid_pt: CSV in the webvid format, texts of captions by videoid"
    )
    parser.add_argument("--visual", help="bigfile, hdf5: which of several visual features (folder or file)")
    parser.add_argument("--queries", help="bigfile, hdf5: which of several files of text features")
    parser.add_argument("--language", default="en", help="language of the captions (en)")
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16"],
        default="float32",
        help="number format of the shards: float32 keeps every value, float16 halves the files (float32)",
    )
    return parser.parse_args()


def main() -> None:
    arguments = vars(parse_arguments())
    root, corpus = arguments.pop("root"), arguments.pop("corpus")
    import_features(Import(**arguments), root, corpus)


if __name__ == "__main__":
    run_command(main)
