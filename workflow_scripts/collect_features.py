"""Check a side of an encoder's feature shards, video or text, against the corpus; write manifest and meta."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.features.collect import collect


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--side",
        choices=["video", "text"],
        required=True,
        help="what is collected: video (and token) or text",
    )
    parser.add_argument("--root", type=Path, required=True, help="folder of the encoder's features")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--videos-per-shard", type=int, required=True, help="videos a shard")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    total = collect(
        arguments.root, arguments.side, arguments.corpus, arguments.shards, arguments.videos_per_shard
    )
    print(f"features of {total} {'videos' if arguments.side == 'video' else 'captions'}", flush=True)


if __name__ == "__main__":
    run_command(main)
