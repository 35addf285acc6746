"""Encode a shard's frames with a frozen model, into HDF5 shards of frame embeddings and visual tokens.

A killed run is taken up where it was. Under torchrun, the processes of a machine share the shard.
"""

import argparse
from pathlib import Path

import torch

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_threads_argument, require_bf16, set_up_compute
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.batches import FrameBatches
from workflow_scripts.lib.features.encoders.encoder import load_encoder
from workflow_scripts.lib.features.encoders.section import add_encoder_arguments, encoder_section
from workflow_scripts.lib.features.extract import extract_videos
from workflow_scripts.lib.processes import processes


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    add_encoder_arguments(parser)
    parser.add_argument("--frames", type=Path, required=True, help="frames of the shard (tar)")
    parser.add_argument(
        "--status", type=Path, required=True, help="what became of the shard's videos (parquet)"
    )
    parser.add_argument(
        "--video-features", type=Path, required=True, help="HDF5 of frame embeddings to write"
    )
    parser.add_argument("--token-features", type=Path, required=True, help="HDF5 of visual tokens to write")
    add_threads_argument(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    config = encoder_section(arguments)
    if not config.frames:
        raise UserError(
            f"encoder '{config.name}' encodes no frames (`frames: false`); run extract_text_features for its texts"
        )
    with processes() as job:
        device = set_up_compute(arguments.threads)
        if config.precision == "bf16":
            require_bf16(device, f"features.encoders: '{config.name}': precision", "fp16")
        threads = torch.get_num_threads()
        encoder = load_encoder(config, arguments.trained_clip, device, sides=["video"])
        with FrameBatches(arguments.frames, arguments.status, encoder, config.batch_size) as frames:
            extract_videos(
                frames,
                encoder,
                {"video": arguments.video_features, "token": arguments.token_features},
                config.dtype,
                # On a few cores, workers would only take turns with the model, which is a hundred times as slow.
                workers=threads if device.type == "cuda" else threads // 8,
                shards=arguments.shards,
                whole_corpus=config.space == "corpus",
                processes=job,
            )
    if job.first:
        print(f"{frames.lengths.sum()} frames of {len(frames.keys)} videos encoded", flush=True)


if __name__ == "__main__":
    run_command(main)
