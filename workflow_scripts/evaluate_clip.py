"""Evaluate the trained CLIP on the test split: the middle frame of every moment against its captions, by language."""

import argparse
import hashlib
import io
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from workflow_scripts.lib.clip.evaluate import by_language
from workflow_scripts.lib.clip.pairs import middle_frames
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, device_name, set_up_compute
from workflow_scripts.lib.config import EncoderConfig
from workflow_scripts.lib.corpus.tables import read_rows, shard_files
from workflow_scripts.lib.features.encoders.encoder import load_encoder
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.frames.shard import read_status
from workflow_scripts.lib.provenance import provenance

BATCH = 256


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `clip` section")
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument("--frames", type=Path, required=True, help="folder of the frames")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    device = set_up_compute(arguments.threads, arguments.seed)
    encoder = load_encoder(EncoderConfig(name="trained", kind="trained_clip"), arguments.model, device)
    captions = [
        row for row in read_rows(arguments.corpus, "captions", arguments.shards) if row["split"] == "test"
    ]
    status = read_status(arguments.frames, arguments.shards)
    tars = shard_files(arguments.frames, "frames_%03d.tar", arguments.shards)
    images, texts, pictures, kept = [], [], [], []
    moments = iter(middle_frames(captions, status, tars))
    while batch := list(islice(moments, BATCH)):
        frames = [Image.open(io.BytesIO(jpeg)).convert("RGB") for _, jpeg in batch]
        images.append(encoder.encode_frames(encoder.preprocess(frames)).embeddings.float().cpu().numpy())
        found = encoder.encode_captions(encoder.tokenize([row["text"] for row, _ in batch]))
        texts.append(found.sentences.float().cpu().numpy())
        pictures += [hashlib.sha256(jpeg).hexdigest() for _, jpeg in batch]
        kept += [row for row, _ in batch]
    metrics = {}
    if kept:
        metrics = by_language(
            np.concatenate(images),
            np.concatenate(texts),
            [row["text"] for row in kept],
            pictures,
            [row["language"] for row in kept],
        )
    for language, found in metrics.items():
        print(language, found, flush=True)
    weights = arguments.model / "open_clip_model.safetensors"
    about = provenance(
        inputs=[weights], config=arguments.config, seed=arguments.seed, device=device_name(device)
    )
    write_json(arguments.metrics, {"test": metrics, "provenance": about})


if __name__ == "__main__":
    run_command(main)
