"""Search the videos of an index by text, in any language that the encoder knows.

    python -m workflow_scripts.search --index results/demo/retrieval/index --query "a red circle moves to the left"

Prints rank, score, where in the file the best clip is, and the video.
"""

import argparse
import os
import sys
from pathlib import Path

import faiss
import numpy as np

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_threads_argument, set_up_compute
from workflow_scripts.lib.config_types import Positive
from workflow_scripts.lib.features.flags import check_flag
from workflow_scripts.lib.retrieval.search.index import SearchIndex
from workflow_scripts.lib.retrieval.search.query import QueryEncoder, checked, read_queries
from workflow_scripts.lib.retrieval.search.show import as_json, as_table, cut_line, is_cut


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--index", type=Path, required=True, help="folder that build_index made")
    parser.add_argument(
        "--query",
        action="append",
        required=True,
        help="what to search for; may be given several times; '-': the lines of the standard input (UTF-8)",
    )
    parser.add_argument("--top", type=int, default=10, help="videos a query (10)")
    parser.add_argument("--json", action="store_true", help="a JSON object a query, each on a line")
    parser.add_argument(
        "--trained-clip", type=Path, help="folder of train_clip, where it is no longer where the index says"
    )
    add_threads_argument(parser)
    return parser.parse_args()


def main() -> None:
    try:
        answer(parse_arguments())
    except BrokenPipeError:  # who reads has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed at the end


def answer(arguments: argparse.Namespace) -> None:
    check_flag("--top", arguments.top, Positive)
    given = [query if query == "-" else checked(query) for query in arguments.query]
    show = as_json if arguments.json else as_table
    device = set_up_compute(arguments.threads)
    faiss.omp_set_num_threads(arguments.threads)
    # JSON is UTF-8 wherever it goes; names that a terminal has no letters for are escaped
    sys.stdout.reconfigure(**({"encoding": "utf-8"} if arguments.json else {"errors": "backslashreplace"}))
    index = SearchIndex(arguments.index)
    encoder = QueryEncoder(arguments.index, index.info, device, arguments.trained_clip)
    for texts in read_queries(given, sys.stdin):
        queries = encoder.encode(texts)
        results = index.search(np.stack([query.vector for query in queries]), arguments.top)
        for query, found in zip(queries, results, strict=True):
            if is_cut(query):
                print(cut_line(query), file=sys.stderr)
            print(show(query, found), flush=True)


if __name__ == "__main__":
    run_command(main)
