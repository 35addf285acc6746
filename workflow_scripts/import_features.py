"""Take features that were extracted elsewhere into the pipeline: as corpus tables and HDF5 shards of features."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.features.importing import FORMATS, Import, import_features


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", choices=sorted(FORMATS), required=True, help="format of the features")
    parser.add_argument("--source", type=Path, required=True, help="folder of the features to import")
    parser.add_argument("--root", type=Path, required=True, help="folder of features to write, new or empty")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of tables to write, new or empty")
    parser.add_argument("--name", required=True, help="the corpus's name, for the caption files")
    parser.add_argument("--videos-per-shard", type=int, default=50_000, help="videos a shard (50000)")
    parser.add_argument(
        "--captions", type=Path, help="CSV in the webvid format: the texts of the captions, by videoid"
    )
    parser.add_argument("--language", default="en", help="language of the captions (en)")
    parser.add_argument(
        "--dtype",
        choices=["float32", "float16"],
        default="float32",
        help="number format of the shards: float32 keeps every value, float16 halves the files (float32)",
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    job = Import(
        format=arguments.format,
        source=arguments.source,
        name=arguments.name,
        videos_per_shard=arguments.videos_per_shard,
        captions=arguments.captions,
        language=arguments.language,
        dtype=arguments.dtype,
    )
    import_features(job, arguments.root, arguments.corpus)


if __name__ == "__main__":
    run_command(main)
