"""Check an encoder's feature shards against the corpus, and write manifests, meta and caption files."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.features.collect import collect


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the encoder's features")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument("--name", required=True, help="the corpus's name, for the caption files")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--videos-per-shard", type=int, required=True, help="videos a shard")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    found = collect(
        arguments.root, arguments.corpus, arguments.name, arguments.shards, arguments.videos_per_shard
    )
    print(f"features of {found['videos']} videos and {found['captions']} captions of theirs", flush=True)


if __name__ == "__main__":
    run_command(main)
