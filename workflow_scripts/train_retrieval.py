"""Train GMMFormer on the features of an encoder; the best epoch on the val split becomes the model."""

import argparse
from pathlib import Path

from workflow_scripts.lib.checkpoints import mark_finished
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, device_name, set_up_compute
from workflow_scripts.lib.config import RetrievalConfig, load_section
from workflow_scripts.lib.features.reader import open_features
from workflow_scripts.lib.files import write_csv
from workflow_scripts.lib.retrieval.checkpoints import BEST
from workflow_scripts.lib.retrieval.data import read_splits, visual_reader
from workflow_scripts.lib.retrieval.model_folder import write_model
from workflow_scripts.lib.retrieval.train import CURVE_COLUMNS, train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
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
    parser.add_argument(
        "--checkpoints", type=Path, required=True, help="folder for progress; a killed run goes on from it"
    )
    parser.add_argument("--model", type=Path, required=True, help="output: folder of the trained model")
    parser.add_argument(
        "--curve", type=Path, required=True, help="output: CSV of losses and validation by epoch"
    )
    add_compute_arguments(parser)
    arguments = parser.parse_args()

    config = load_section(RetrievalConfig, arguments.config)
    device = set_up_compute(arguments.threads, arguments.seed)
    splits = read_splits(arguments.features, ("train", "val"), config.languages)
    videos, texts = visual_reader(arguments.features, config), open_features(arguments.text_features, "text")
    print(f"training on {device_name(device)}", flush=True)
    state = train(config, videos, texts, splits, arguments.checkpoints, seed=arguments.seed, device=device)
    write_model(arguments.model, arguments.checkpoints / BEST, state.model.config)
    write_csv(arguments.curve, CURVE_COLUMNS, state.curve)
    mark_finished(arguments.checkpoints, "retrieval")
    print(f"kept epoch {state.best_epoch} of {state.epoch}", flush=True)


if __name__ == "__main__":
    run_command(main)
