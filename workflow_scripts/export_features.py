"""Write features as a data root of the original GMMFormer code, so that it trains on them unchanged."""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.features.exporting import LAYOUTS, Export, export_features


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=Path, required=True, help="folder of an encoder's features")
    parser.add_argument(
        "--text-features", type=Path, help="folder of the captions' features, if another encoder made them"
    )
    parser.add_argument("--name", required=True, help="the corpus's name, which its caption files begin with")
    parser.add_argument(
        "--layout",
        choices=LAYOUTS,
        required=True,
        help="of the videos: bigfile, as the original reads, or hdf5, a dataset a video",
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="folder to write <collection>/ into: the data root"
    )
    parser.add_argument("--collection", help="what the original calls the corpus (its name)")
    parser.add_argument(
        "--visual", help="what the original calls the features of videos (name of their folder)"
    )
    parser.add_argument(
        "--tokens",
        action="store_true",
        help="visual tokens, those of a frame side by side, in place of its embedding",
    )
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    job = Export(
        features=arguments.features,
        text_features=arguments.text_features or arguments.features,
        name=arguments.name,
        layout=arguments.layout,
        collection=arguments.collection or arguments.name,
        visual=arguments.visual or arguments.features.resolve().name,
        tokens=arguments.tokens,
    )
    written = export_features(job, arguments.output)
    print(f"{arguments.output / job.collection}: {written}\n{written.settings(job)}", flush=True)


if __name__ == "__main__":
    run_command(main)
