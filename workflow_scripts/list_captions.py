"""List the captions of the videos that have features, by split: as caption files, and as tables for data sets."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.features.caption_lists import list_captions


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="folder of the encoder's features")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument("--name", required=True, help="the corpus's name, for the caption files")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    counts = list_captions(arguments.root, arguments.corpus, arguments.name, arguments.shards)
    print(", ".join(f"{count} {split}" for split, count in counts.items()) + " captions listed", flush=True)


if __name__ == "__main__":
    run_command(main)
