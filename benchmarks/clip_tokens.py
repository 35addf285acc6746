"""How many tokens captions take: English beside Korean, in the tokenizers of CLIP models.

    python -m benchmarks.clip_tokens
    python -m benchmarks.clip_tokens --tokenizer xlm-roberta-base-ViT-B-32 --captions mine.tsv

`--captions` is a table with a column a language (tabs between them); without it, the demo's captions and the sentences
in clip_sentences.tsv are counted. `--tokenizer` names further models of open_clip, whose tokenizers are fetched.
"""

import argparse
import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip

from workflow_scripts.lib.clip.demo_model import learn_tokenizer
from workflow_scripts.lib.config_clip import DemoClipModel
from workflow_scripts.lib.corpus.demo.scenes import annotation, scene
from workflow_scripts.lib.files import write_json

HERE = Path(__file__).parent
CLIP = "CLIP's own BPE"
CONTEXT = 77
"""Tokens that CLIP's text tower reads, start and end included."""
ENOUGH = 500  # captions, to learn a tokenizer from
LONG = 120  # characters of the English sentence from which on a pair counts as long


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--captions", type=Path, help="table with a column a language")
    parser.add_argument("--tokenizer", action="append", default=[], help="a model of open_clip")
    parser.add_argument("--results", type=Path, default=HERE / "results/clip_tokens.json")
    arguments = parser.parse_args()
    sets = {arguments.captions.name: read_table(arguments.captions)} if arguments.captions else own_sets()
    tokenizers = {CLIP: clip_tokens, **{name: tokens_of(name) for name in arguments.tokenizer}}
    found = {name: measure(texts, tokenizers) for name, texts in sets.items()}
    print(as_table(found))
    if not arguments.captions:
        write_json(arguments.results, found)


def own_sets() -> dict[str, dict[str, list[str]]]:
    """Captions by set and language: the demo's, and the sentences."""
    sentences = read_table(HERE / "clip_sentences.tsv")
    long = np.array([len(text) >= LONG for text in sentences["en"]])
    return {
        "the demo's captions": demo_captions(),
        "short sentences": _chosen(sentences, ~long),
        "descriptions": _chosen(sentences, long),
    }


def _chosen(texts: dict[str, list[str]], rows: np.ndarray) -> dict[str, list[str]]:
    return {language: list(np.array(some)[rows]) for language, some in texts.items()}


def read_table(file: Path) -> dict[str, list[str]]:
    with file.open(encoding="utf-8-sig", newline="") as handle:
        rows = list(csv.DictReader(handle, delimiter="\t", quoting=csv.QUOTE_NONE))
    return {language: [row[language] for row in rows if row[language]] for language in rows[0]}


def demo_captions() -> dict[str, list[str]]:
    """Those of config.yaml."""
    found: dict[str, list[str]] = {}
    for video in range(480):
        for caption in annotation(scene(20240227, video, 3), video, "")["captions"]:
            found.setdefault(caption["lang"], []).append(caption["text"])
    return found


def clip_tokens(texts: list[str]) -> list[int]:
    """Tokens of each text, start and end included, if nothing were cut."""
    tokenizer = open_clip.SimpleTokenizer()
    return [len(tokenizer.encode(text)) + 2 for text in texts]


def tokens_of(model: str) -> Callable[[list[str]], list[int]]:
    """The same for the tokenizer of transformers that a model of open_clip has."""
    tokenizer = open_clip.get_tokenizer(model).tokenizer
    return lambda texts: [len(tokenizer(text)["input_ids"]) for text in texts]


def measure(texts: dict[str, list[str]], tokenizers: dict[str, Callable]) -> dict[str, dict[str, Any]]:
    """By tokenizer and language; where there are enough captions, a BPE learned from these very ones stands beside."""
    every, together = dict(tokenizers), [text for some in texts.values() for text in some]
    if len(together) >= ENOUGH:
        merges = DemoClipModel().merges
        learned = learn_tokenizer(together, merges)
        name = f"BPE of {merges} merges, learned from them"
        every[name] = lambda some: [len(learned.encode(text).ids) for text in some]
    return {
        tokenizer: {language: _about(some, count(some)) for language, some in texts.items()}
        for tokenizer, count in every.items()
    }


def _about(texts: list[str], tokens: list[int]) -> dict[str, Any]:
    letters = sum(len(text.replace(" ", "")) for text in texts)
    return {
        "captions": len(texts),
        "characters": round(float(np.mean([len(text) for text in texts])), 1),
        "tokens": round(float(np.mean(tokens)), 1),
        "most_tokens": max(tokens),
        "tokens_a_letter": round((sum(tokens) - 2 * len(tokens)) / letters, 2),
        "cut_percent": round(100 * float(np.mean(np.array(tokens) > CONTEXT)), 1),
    }


def as_table(found: dict[str, dict[str, dict[str, Any]]]) -> str:
    """Markdown."""
    lines = [
        "| captions | tokenizer | language | characters | tokens | most | tokens a letter | cut at 77 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for texts, tokenizers in found.items():
        for tokenizer, languages in tokenizers.items():
            lines += [
                f"| {texts} | {tokenizer} | {language} | {row['characters']} | {row['tokens']} | {row['most_tokens']} |"
                f" {row['tokens_a_letter']} | {row['cut_percent']}% |"
                for language, row in languages.items()
            ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
