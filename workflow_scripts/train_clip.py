"""Train or fine-tune an OpenCLIP model on frame-caption pairs, by open_clip_train itself.

A killed job goes on from its last epoch when it is run again. Checkpoints lie in a folder named after
what they depend on (config, pairs, seed), so another config starts anew.
"""

import argparse
import os
from pathlib import Path

import torch

from workflow_scripts.lib.checkpoints import mark_finished
from workflow_scripts.lib.clip import train
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, set_up_compute
from workflow_scripts.lib.config import ClipConfig, load_section
from workflow_scripts.lib.files import whole_folder


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `clip` section")
    parser.add_argument(
        "--demo-model", type=Path, nargs="?", help="folder of make_demo_clip_model, if there is one"
    )
    parser.add_argument("--pairs", type=Path, required=True, help="folder of the tars that pack_pairs wrote")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder that survives a killed job")
    parser.add_argument("--model", type=Path, required=True, help="folder to write the trained model to")
    parser.add_argument("--curve", type=Path, required=True, help="CSV of losses to write")
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    config = load_section(ClipConfig, arguments.config)
    device = set_up_compute(arguments.threads, arguments.seed)
    model = train.model_name(config, arguments.demo_model)
    name = train.fingerprint(
        config, arguments.config, arguments.pairs, arguments.shards, arguments.demo_model, arguments.seed
    )
    first = os.environ.get("RANK", "0") == "0"
    if first:
        train.look_at_checkpoints(arguments.checkpoints, name)

    # Imported after the checks: it takes seconds.
    from workflow_scripts.lib.clip.curve import write_curve
    from workflow_scripts.lib.clip.export import export_folder
    from workflow_scripts.lib.clip.launch import run_open_clip_train

    run = arguments.checkpoints / name
    run.mkdir(parents=True, exist_ok=True)
    command = train.training_arguments(
        config, model,
        train.find_pairs(arguments.pairs, arguments.shards, "train"),
        train.few_enough(train.find_pairs(arguments.pairs, arguments.shards, "val")),
        logs=arguments.checkpoints, name=name, seed=arguments.seed, device=device.type,
        ranks=int(os.environ.get("WORLD_SIZE", "1")),
    )  # fmt: skip
    print("open_clip_train", *command, flush=True)
    preprocessing = run_open_clip_train(command, arguments.seed, run / "curve.jsonl")
    if first:
        write_curve(run / "curve.jsonl", arguments.curve)
        with whole_folder(arguments.model) as folder:
            export_folder(run / "checkpoints" / "epoch_latest.pt", model, preprocessing, folder)
        mark_finished(run, "clip")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    run_command(main)
