"""Cut one shard out of the corpus tables."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.corpus.shards import write_shard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all-videos", type=Path, required=True, help="table of all videos (parquet)")
    parser.add_argument("--all-captions", type=Path, required=True, help="table of all captions (parquet)")
    parser.add_argument("--shard", type=int, required=True, help="number of the shard, from 0")
    parser.add_argument("--videos-per-shard", type=int, required=True, help="videos in a shard")
    parser.add_argument("--videos", type=Path, required=True, help="the shard's table of videos to write")
    parser.add_argument("--captions", type=Path, required=True, help="the shard's table of captions to write")
    args = parser.parse_args()
    write_shard(
        args.all_videos, args.all_captions, args.shard, args.videos_per_shard, args.videos, args.captions
    )


if __name__ == "__main__":
    run_command(main)
