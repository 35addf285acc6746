"""Read and check all annotations: one table of videos, one of captions, and a list of problems."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import CorpusConfig, load_section
from workflow_scripts.lib.corpus.ingest import ingest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config", type=Path, required=True, help="frozen `corpus` section, which names the annotations"
    )
    parser.add_argument("--videos", type=Path, required=True, help="table of videos to write (parquet)")
    parser.add_argument("--captions", type=Path, required=True, help="table of captions to write (parquet)")
    parser.add_argument("--problems", type=Path, required=True, help="list of problems to write (jsonl)")
    args = parser.parse_args()
    ingest(load_section(CorpusConfig, args.config), args.videos, args.captions, args.problems)


if __name__ == "__main__":
    run_command(main)
