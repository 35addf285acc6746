"""Encode the videos with the trained GMMFormer into a search index, which `search` looks into.

Exact under 100,000 videos; above, IVF-PQ whose recall against the exact search is measured. A build that was killed starts
anew; an index that is there stays until the new one is whole.
"""

import argparse
from pathlib import Path

import faiss

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, set_up_compute
from workflow_scripts.lib.config import EncoderConfig, RetrievalConfig, load_section
from workflow_scripts.lib.corpus.tables import SPLITS
from workflow_scripts.lib.frames.space import readable
from workflow_scripts.lib.retrieval.moments import CorpusTables
from workflow_scripts.lib.retrieval.search.build import Sources, build_index


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `retrieval` section (YAML)")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--features", type=Path, required=True, help="folder of the features of videos")
    parser.add_argument("--text-features", type=Path, required=True, help="of captions; may be the same")
    parser.add_argument(
        "--encoder",
        type=Path,
        nargs="?",
        help="section of the captions' encoder; without it, no search by text",
    )
    parser.add_argument("--trained-clip", type=Path, nargs="?", help="folder of train_clip, if that is it")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument(
        "--frames", type=Path, nargs="?", help="folder of the status tables of frames; without it, no times"
    )
    parser.add_argument("--shards", type=int, required=True, help="number of shards of these tables")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=SPLITS, help="whose videos (all)")
    parser.add_argument("--index", type=Path, required=True, help="output: folder of the index")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--exact", action="store_true", help="compare all clips, however many videos there are")
    kind.add_argument("--approximate", action="store_true", help="IVF-PQ, however few")
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    device = set_up_compute(arguments.threads, arguments.seed)
    faiss.omp_set_num_threads(arguments.threads)
    sources = Sources(
        config=load_section(RetrievalConfig, arguments.config),
        config_file=arguments.config,
        model=arguments.model,
        features=arguments.features,
        text_features=arguments.text_features,
        tables=CorpusTables(arguments.corpus, arguments.frames, arguments.shards),
        splits=arguments.splits,
        encoder=load_section(EncoderConfig, arguments.encoder) if arguments.encoder else None,
        trained_clip=arguments.trained_clip,
        seed=arguments.seed,
    )
    kind = "exact" if arguments.exact else "ivf_pq" if arguments.approximate else None
    info = build_index(sources, arguments.index, device, kind)
    size = readable(sum(info.files.values()))
    print(f"{arguments.index}: {info.kind}, {info.videos} videos, {size}", flush=True)


if __name__ == "__main__":
    run_command(main)
