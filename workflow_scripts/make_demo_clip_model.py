"""Make the demo's untrained CLIP: a tiny architecture, and a tokenizer from the training captions."""

import argparse
from pathlib import Path

from workflow_scripts.lib.clip.demo_model import write_demo_model
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import ClipConfig, load_section
from workflow_scripts.lib.corpus.tables import read_shards
from workflow_scripts.lib.files import whole_folder


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `clip` section")
    parser.add_argument("--corpus", type=Path, required=True, help="folder of the corpus tables")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--model", type=Path, required=True, help="folder to write")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    settings = load_section(ClipConfig, arguments.config).demo_model
    captions = read_shards(arguments.corpus, "captions", arguments.shards, ["split", "text"]).to_pylist()
    training = [row["text"] for row in captions if row["split"] == "train"]
    with whole_folder(arguments.model) as folder:
        made = write_demo_model(folder, training, settings)
    print(
        f"tokenizer of {made['vocabulary']} tokens from {len(training)} training captions;"
        f" the longest takes {made['longest']} of {settings.context_length} tokens",
        flush=True,
    )
    if made["longest"] > settings.context_length:
        print("warning: longer captions are cut; raise clip.demo_model.context_length or merges", flush=True)


if __name__ == "__main__":
    run_command(main)
