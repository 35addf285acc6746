"""Compare generated captions with their references, with each other, and with the frames that they tell of."""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.lib.captioner.captions_file import read_captions
from workflow_scripts.lib.captioner.metrics import evaluate, rows_by_language, warn_of_collapse
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import CaptionEvaluation, load_section
from workflow_scripts.lib.files import read_json, write_json
from workflow_scripts.lib.provenance import provenance

OF_TRAINING = ("captions", "captions_cut", "captions_without_frames", "caption_tokens", "provenance")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen captioner.evaluation (YAML)")
    parser.add_argument(
        "--captions", type=Path, required=True, help="captions_test.jsonl of generate_captions"
    )
    parser.add_argument("--model", type=Path, nargs="?", help="model folder, whose training is told of")
    parser.add_argument("--languages", nargs="*", default=[], help="languages that are expected")
    no_images = "none: captions are not scored against frames"
    parser.add_argument(
        "--features", type=Path, nargs="?", help=f"folder of the frames' features; {no_images}"
    )
    parser.add_argument(
        "--encoder", type=Path, nargs="?", help="what of their encoder decides about captions"
    )
    parser.add_argument("--trained-clip", type=Path, nargs="?", help="folder of train_clip, for that encoder")
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice")
    arguments = parser.parse_args()

    options = load_section(CaptionEvaluation, arguments.config)
    rows = read_captions(arguments.captions)
    scores = evaluate(rows, options, arguments.seed)
    languages = scores.pop("by_language")
    for language, found in image_text(arguments, options, rows).items():
        languages[language]["image_text"] = found
    for language in sorted(set(arguments.languages) - set(languages)):
        print(f"{language}: no test captions, so no metrics", flush=True)
    for language, score in languages.items():
        shown = {name: round(value, 2) for name, value in score.items() if isinstance(value, float)}
        print(f"{language}: {shown}", flush=True)
    warn_of_collapse(scores["diversity_warning_languages"], options.diversity_floor)
    training = read_json(arguments.model / "training.json") if arguments.model else {}
    of_training = {name: training[name] for name in OF_TRAINING if name in training}
    recorded = provenance(inputs=[arguments.captions], config=arguments.config, seed=arguments.seed)
    write_json(
        arguments.metrics, {"test": languages, **scores, "training": of_training, "provenance": recorded}
    )


def image_text(
    arguments: argparse.Namespace, options: CaptionEvaluation, rows: list[dict]
) -> dict[str, dict[str, Any]]:
    """Scores against the frames by language, where they are asked for and can be had."""
    if not (options.image_text and arguments.features and arguments.encoder):
        why = "no encoder of frames and captions" if options.image_text else "image_text: false"
        print(f"captions are not scored against frames: {why} (captioner.evaluation)", flush=True)
        return {}
    # Imported here: torch and the encoder's library take seconds to load.
    from workflow_scripts.lib.captioner.image_text import open_scorer
    from workflow_scripts.lib.compute import set_up_compute

    device = set_up_compute(arguments.threads, arguments.seed)
    scorer = open_scorer(arguments.features, arguments.encoder, arguments.trained_clip, device)
    return {
        language: scorer.scores(found, options.bootstrap, arguments.seed)
        for language, found in rows_by_language(rows).items()
    }


if __name__ == "__main__":
    run_command(main)
