"""Compare generated captions with their references: attributes, exact match, chrF, BLEU, diversity."""

import argparse
import json
from pathlib import Path

from workflow_scripts.lib.captioner.metrics import evaluate
from workflow_scripts.lib.command import run_command
from workflow_scripts.lib.config import CaptionerConfig, load_section
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.files import write_json
from workflow_scripts.lib.provenance import provenance


def read_captions(path: Path) -> list[dict]:
    """The rows of captions_<split>.jsonl; UserError names a line that is no JSON."""
    rows = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                rows.append(json.loads(line))
            except ValueError as error:
                raise UserError(
                    f"{path}, line {number}: not JSON ({error}); run generate_captions again"
                ) from None
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="frozen captioner section (YAML)")
    parser.add_argument(
        "--captions", type=Path, required=True, help="captions_test.jsonl of generate_captions"
    )
    parser.add_argument("--metrics", type=Path, required=True, help="JSON to write")
    parser.add_argument("--seed", type=int, default=0, help="the run's seed, to be recorded")
    arguments = parser.parse_args()

    config = load_section(CaptionerConfig, arguments.config)
    scores = evaluate(read_captions(arguments.captions), config.diversity_floor)
    languages = scores.pop("by_language")
    for language in sorted(set(config.languages or []) - set(languages)):
        print(f"{language}: no test captions, so no metrics", flush=True)
    for language, score in languages.items():
        shown = {name: round(value, 2) for name, value in score.items() if isinstance(value, float)}
        print(f"{language}: {shown}", flush=True)
    if scores["diversity_warning"]:
        print(
            f"WARNING: the captions in {', '.join(scores['diversity_warning_languages'])} repeat themselves: fewer than "
            f"{config.diversity_floor:g} of the references' diversity (captioner.diversity_floor)",
            flush=True,
        )
    recorded = provenance(inputs=[arguments.captions], config=arguments.config, seed=arguments.seed)
    write_json(arguments.metrics, {"test": languages, **scores, "provenance": recorded})


if __name__ == "__main__":
    run_command(main)
