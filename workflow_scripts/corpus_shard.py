"""Cut one shard out of a corpus table."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.corpus.shards import TABLES, write_shard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", choices=list(TABLES), required=True, help="which table it is")
    parser.add_argument("--whole", type=Path, required=True, help="the table of all shards (parquet)")
    parser.add_argument("--shard", type=int, required=True, help="number of the shard, from 0")
    parser.add_argument("--videos-per-shard", type=int, required=True, help="videos in a shard")
    parser.add_argument("--rows", type=Path, required=True, help="the shard's table to write")
    args = parser.parse_args()
    write_shard(args.table, args.whole, args.shard, args.videos_per_shard, args.rows)


if __name__ == "__main__":
    run_command(main)
