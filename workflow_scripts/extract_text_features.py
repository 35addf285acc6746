"""Encode a shard's captions with a frozen model, into HDF5 shards of token and sentence embeddings.

A killed run is taken up where it was.
"""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_threads_argument, require_bf16, set_up_compute
from workflow_scripts.lib.corpus.tables import read_columns
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.batches import CaptionBatches
from workflow_scripts.lib.features.encoders.encoder import load_encoder
from workflow_scripts.lib.features.encoders.section import add_encoder_arguments, encoder_section
from workflow_scripts.lib.features.extract import extract_captions


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_encoder_arguments(parser)
    parser.add_argument("--captions", type=Path, required=True, help="captions of the shard (parquet)")
    parser.add_argument(
        "--text-features", type=Path, required=True, help="HDF5 of per-token embeddings to write"
    )
    parser.add_argument(
        "--sentence-features", type=Path, required=True, help="HDF5 of sentence embeddings to write"
    )
    add_threads_argument(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    config = encoder_section(arguments)
    if config.text == "none":
        raise UserError(
            f"encoder '{config.name}' encodes no texts (`text: none`); run extract_video_features for its frames"
        )
    device = set_up_compute(arguments.threads)
    if config.precision == "bf16":
        require_bf16(device, f"features.encoders: '{config.name}': precision", "fp16")
    encoder = load_encoder(config, arguments.trained_clip, device, sides=["text"])
    table = read_columns(arguments.captions, ["video", "caption", "text"], "corpus_shard")
    captions = CaptionBatches(table, encoder, config.batch_size)
    extract_captions(
        captions,
        encoder,
        {"text": arguments.text_features, "sentence": arguments.sentence_features},
        config.dtype,
        shards=arguments.shards,
        whole_corpus=config.space == "corpus",
    )
    print(f"{captions.items} captions encoded", flush=True)


if __name__ == "__main__":
    run_command(main)
