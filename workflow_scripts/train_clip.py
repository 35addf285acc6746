"""Train or fine-tune an OpenCLIP model on frame-caption pairs, by open_clip_train itself.

A killed job goes on from its last epoch when it is run again, and so does a finished one that is given more epochs.
Checkpoints lie in a folder named after what they depend on (config, pairs, weights, seed), so another config starts anew.
"""

import argparse
from pathlib import Path

from workflow_scripts.lib.checkpoints import mark_finished
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, set_up_compute
from workflow_scripts.lib.config import ClipConfig, load_section
from workflow_scripts.lib.files import whole_folder
from workflow_scripts.lib.processes import this_process
from workflow_scripts.lib.running import add_running_arguments, with_running_arguments


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `clip` section")
    parser.add_argument(
        "--demo-model", type=Path, nargs="?", help="folder of make_demo_clip_model, if there is one"
    )
    parser.add_argument(
        "--pairs", type=Path, nargs="?", help="folder of the pairs that pack_pairs wrote, if any"
    )
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--checkpoints", type=Path, required=True, help="folder that survives a killed job")
    parser.add_argument("--model", type=Path, required=True, help="folder to write the trained model to")
    parser.add_argument("--curve", type=Path, required=True, help="CSV of losses to write")
    add_running_arguments(parser, ClipConfig, ClipConfig.RUNNING)
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    config = with_running_arguments(load_section(ClipConfig, arguments.config), ClipConfig.RUNNING, arguments)
    job = this_process()
    device = set_up_compute(arguments.threads, arguments.seed)

    # Imported after the configuration was checked: it takes seconds.
    from workflow_scripts.lib.clip import resume
    from workflow_scripts.lib.clip.curve import write_curve
    from workflow_scripts.lib.clip.export import export_folder, trained_config
    from workflow_scripts.lib.clip.launch import run_open_clip_train
    from workflow_scripts.lib.clip.models import find_model
    from workflow_scripts.lib.clip.pair_files import find_pairs
    from workflow_scripts.lib.clip.train import check, shown, training_arguments

    check(config, device)
    model = find_model(config, arguments.demo_model)
    checkpoints = arguments.checkpoints
    scratch = checkpoints.with_name("pairs_index")
    train, val = (
        find_pairs(config.data, arguments.pairs, arguments.shards, split, scratch)
        for split in ("train", "val")
    )
    run = resume.what_it_depends_on(config, arguments.demo_model, train.identity, arguments.seed)
    folder = checkpoints / resume.name_of(run)
    command = training_arguments(
        config, model, train, val, logs=checkpoints, name=folder.name, seed=arguments.seed, ranks=job.world,
        device=device.type,
    )  # fmt: skip
    if job.first:
        checkpoint = resume.prepare(checkpoints, run, config)
        command += [f"--resume={checkpoint}"] if checkpoint else []
        print(shown(command), flush=True)
    preprocessing = run_open_clip_train(command, arguments.seed, folder / resume.CURVE, model)
    if job.first:
        write_curve(folder / resume.CURVE, arguments.curve)
        with whole_folder(arguments.model) as made:
            trained = trained_config(config, model.config)
            export_folder(folder / resume.LATEST, model.name, trained, preprocessing, made, config.cache_dir)
        mark_finished(folder, "clip")


if __name__ == "__main__":
    run_command(main)
