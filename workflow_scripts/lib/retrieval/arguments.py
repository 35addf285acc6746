"""Flags that commands of retrieval share."""

import argparse
from pathlib import Path


def add_feature_arguments(parser: argparse.ArgumentParser) -> None:
    """`--config`, `--features` and `--text-features`."""
    parser.add_argument("--config", type=Path, required=True, help="frozen `retrieval` section (YAML)")
    parser.add_argument(
        "--features", type=Path, required=True, help="folder of the features of videos, and lists of captions"
    )
    parser.add_argument(
        "--text-features",
        type=Path,
        required=True,
        help="folder of the features of captions; may be the same",
    )
