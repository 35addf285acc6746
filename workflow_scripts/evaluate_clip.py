"""Evaluate CLIP before and after training: recall on pictures and captions that it was not trained on, and zero-shot.

Of the corpus, these are the middle frames of the test split's moments, by language of the captions.
"""

import argparse
from pathlib import Path

from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.compute import add_compute_arguments, device_name, set_up_compute
from workflow_scripts.lib.config import load_section
from workflow_scripts.lib.config_clip import ClipConfig, ClipEvaluation
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.provenance import provenance


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen `clip` section")
    parser.add_argument(
        "--evaluation", type=Path, required=True, help="what of it is about evaluation, frozen"
    )
    parser.add_argument(
        "--demo-model", type=Path, nargs="?", help="folder of make_demo_clip_model, if there is one"
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--corpus", type=Path, nargs="?", help="folder of the corpus tables; none: own pairs")
    parser.add_argument("--frames", type=Path, nargs="?", help="folder of the frames; none: own pairs")
    parser.add_argument("--shards", type=int, required=True, help="number of shards")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    add_compute_arguments(parser)
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    config = load_section(ClipConfig, arguments.config)
    evaluation = load_section(ClipEvaluation, arguments.evaluation)
    device = set_up_compute(arguments.threads, arguments.seed)

    # Imported after the checks: it takes seconds.
    from workflow_scripts.lib.clip.embed import initial_model, trained_model
    from workflow_scripts.lib.clip.evaluate import before_and_after
    from workflow_scripts.lib.clip.held_out import find_examples

    after = trained_model(arguments.model, device)
    before = initial_model(config, arguments.demo_model, arguments.seed, after)
    examples = find_examples(evaluation.data, arguments.corpus, arguments.frames, arguments.shards)
    metrics = before_and_after(before, after, examples, evaluation.zeroshot, arguments.threads)
    for name, found in metrics.items():
        for part, values in found.items():
            print(name, part, values, flush=True)
    weights = arguments.model / "open_clip_model.safetensors"
    about = provenance(
        inputs=[weights], config=arguments.config, seed=arguments.seed, device=device_name(device)
    )
    write_json(arguments.metrics, {**metrics, "provenance": about})


if __name__ == "__main__":
    run_command(main)
