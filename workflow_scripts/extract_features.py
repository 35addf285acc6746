"""Encode a shard's frames and captions with a frozen image-text model, into HDF5 shards of features."""

import argparse
from contextlib import ExitStack
from pathlib import Path

import pyarrow.parquet as pq

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, set_up_compute
from workflow_scripts.lib.config import EncoderConfig, load_section
from workflow_scripts.lib.features.encoders import load_encoder
from workflow_scripts.lib.features.extract import extract_captions, extract_frames
from workflow_scripts.lib.features.shards import ShardWriter
from workflow_scripts.lib.features.verify import check_shard


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="the encoder's section")
    parser.add_argument(
        "--trained-clip", type=Path, nargs="?", help="folder of train_clip, for kind trained_clip"
    )
    parser.add_argument("--captions", type=Path, required=True, help="captions of the shard (parquet)")
    parser.add_argument("--frames", type=Path, required=True, help="frames of the shard (tar)")
    parser.add_argument(
        "--status", type=Path, required=True, help="what became of the shard's videos (parquet)"
    )
    parser.add_argument(
        "--frame-features", type=Path, required=True, help="HDF5 of per-frame embeddings to write"
    )
    parser.add_argument(
        "--text-features", type=Path, required=True, help="HDF5 of per-token embeddings to write"
    )
    parser.add_argument(
        "--sentence-features", type=Path, required=True, help="HDF5 of sentence embeddings to write"
    )
    parser.add_argument("--token-features", type=Path, required=True, help="HDF5 of visual tokens to write")
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    config = load_section(EncoderConfig, arguments.config)
    device = set_up_compute(arguments.threads, arguments.seed)
    encoder = load_encoder(config, arguments.trained_clip, device)
    rows = pq.read_table(arguments.captions, columns=["key", "text"]).to_pylist()
    with ExitStack() as stack:
        frames, tokens, texts, sentences = (
            stack.enter_context(ShardWriter(path, encoder.identity, config.dtype))
            for path in (
                arguments.frame_features,
                arguments.token_features,
                arguments.text_features,
                arguments.sentence_features,
            )
        )
        captions = ((row["key"], row["text"]) for row in rows)
        n_captions = extract_captions(captions, encoder, config.batch_size, texts, sentences)
        n_frames = extract_frames(
            arguments.frames, encoder, config.batch_size, arguments.threads, frames, tokens
        )
        check_shard(frames.shapes, pq.read_table(arguments.status).to_pylist(), arguments.frames)
    print(f"{n_frames} frames of {len(frames.shapes)} videos and {n_captions} captions encoded", flush=True)


if __name__ == "__main__":
    run_command(main)
