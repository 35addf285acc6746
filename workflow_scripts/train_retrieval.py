"""Train GMMFormer on the features of an encoder; the best epoch on the val split becomes the model.

A killed run is taken up where its last checkpoint is. Under torchrun, the processes of a machine share every batch.
"""

import argparse
from pathlib import Path

from workflow_scripts.lib.checkpoints import mark_finished
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, device_name, require_bf16, set_up_compute
from workflow_scripts.lib.config import RetrievalConfig, load_section
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.files import refuse_folder, refuse_other_things, write_csv
from workflow_scripts.lib.processes import first_prints, processes
from workflow_scripts.lib.retrieval.arguments import add_feature_arguments
from workflow_scripts.lib.retrieval.checkpoints import BEST
from workflow_scripts.lib.retrieval.data import count_cut, read_splits, visual_reader
from workflow_scripts.lib.retrieval.model_folder import CONFIG, read_checkpoint_model, write_model
from workflow_scripts.lib.retrieval.train import CURVE_COLUMNS, train
from workflow_scripts.lib.running import add_running_arguments, with_running_arguments


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_feature_arguments(parser)
    parser.add_argument(
        "--checkpoints", type=Path, required=True, help="folder for progress; a killed run goes on from it"
    )
    parser.add_argument(
        "--log-folder", type=Path, required=True, help="folder of training.csv and Tensorboard files"
    )
    parser.add_argument("--model", type=Path, required=True, help="output: folder of the trained model")
    parser.add_argument(
        "--curve", type=Path, required=True, help="output: CSV of losses and validation by epoch"
    )
    add_running_arguments(parser, RetrievalConfig, RetrievalConfig.RUNNING)
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    config = load_section(RetrievalConfig, arguments.config)
    config = with_running_arguments(config, RetrievalConfig.RUNNING, arguments)
    device = set_up_compute(arguments.threads, arguments.seed)
    if config.precision == "bf16":
        require_bf16(device, "retrieval.precision", "fp16")
    with processes(cuda=device.type == "cuda") as job, first_prints(job):
        if job.first:  # not behind days of training
            refuse_other_things(arguments.model, CONFIG)
            refuse_folder(arguments.curve)
        splits = read_splits(arguments.features, ("train", "val"), config.languages)
        videos = visual_reader(arguments.features, config)
        texts = open_features(arguments.text_features, "text")
        if job.first:  # of validation alone: that of ten million would take minutes
            count_cut("val", splits["val"], texts, config.max_desc_l)
        print(f"training on {device_name(device)}, processes: {job.world}", flush=True)
        state = train(
            config, videos, texts, splits, arguments.checkpoints,
            log=arguments.log_folder, seed=arguments.seed, device=device, job=job,
        )  # fmt: skip
        if job.first:
            best = read_checkpoint_model(arguments.checkpoints / BEST)
            write_model(arguments.model, best.state_dict(), best.config)
            write_csv(arguments.curve, CURVE_COLUMNS, state.curve)
            mark_finished(arguments.checkpoints, "retrieval")
            print(f"kept epoch {state.best_epoch} of {state.epoch}", flush=True)


if __name__ == "__main__":
    run_command(main)
