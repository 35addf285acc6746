"""How good generated captions are, by language. Nothing here needs torch or a download. Rates are percent."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from workflow_scripts.lib.captioner import scores
from workflow_scripts.lib.captioner.attributes import attribute_scores
from workflow_scripts.lib.captioner.confidence import Score, intervals, mean
from workflow_scripts.lib.captioner.diversity import diversity, most_frequent, variety
from workflow_scripts.lib.captioner.tokens import tokens, unit_of
from workflow_scripts.lib.config import CaptionEvaluation

Row = Mapping[str, Any]


def evaluate(rows: Sequence[Row], options: CaptionEvaluation, seed: int = 0) -> dict[str, Any]:
    """Metrics of the rows of captions_<split>.jsonl: `by_language`, and whether the captions have collapsed.

    `seed` is that of the confidence intervals.
    """
    by_language = {
        language: evaluate_language(language, found, options, seed)
        for language, found in rows_by_language(rows).items()
    }
    collapsed = _collapsed(by_language, options.diversity_floor)
    return {
        "by_language": by_language,
        "diversity_warning": bool(collapsed),
        "diversity_warning_languages": collapsed,
    }


def evaluate_language(
    language: str, rows: Sequence[Row], options: CaptionEvaluation, seed: int = 0
) -> dict[str, Any]:
    """Metrics of one language's captions, and under `confidence` the 95 % intervals of those that are scores.

    A moment with several captions has one generated text, which is compared with all of them. How the captions vary is
    told of the generated ones, and under `reference_...` of the first reference of each moment; it has no interval, for
    a sample with replacement repeats captions.
    """
    moments = moments_of_rows(rows)
    generated, references = _texts(moments)
    words, gold = tokens(generated, language), [tokens(texts, language) for texts in references]
    tokenizer = "13a" if unit_of(language) == "words" else "char"
    attributes, kinds = attribute_scores(moments)
    found: dict[str, Score | None] = {
        "attribute_accuracy": attributes,
        "exact_match": mean(100.0 * np.array(list(map(_exact, generated, references)))),
        "cider": scores.cider(words, gold),
        "chrf": scores.chrf(generated, references),
        **scores.bleu(generated, references, tokenizer),
        "meteor_without_synonyms": scores.meteor_without_synonyms(words, gold, language),
        "rouge_l": scores.rouge_l(words, gold),
    }
    measured = {name: score for name, score in found.items() if score is not None}
    of_kinds = {"attribute_accuracy_by_kind": {name: score.value for name, score in kinds.items()}}
    first, first_words = [texts[0] for texts in references], [texts[0] for texts in gold]
    own = variety(first, first_words, options.near_duplicate)
    return {
        "captions": len(rows),
        "moments": len(moments),
        **{name: score.value for name, score in measured.items()},
        **(of_kinds if kinds else {}),
        "confidence": intervals(
            measured | {f"attribute_accuracy.{name}": score for name, score in kinds.items()},
            options.bootstrap,
            seed,
        ),
        "tokens": unit_of(language),
        "bleu_tokenizer": tokenizer,
        **variety(generated, words, options.near_duplicate),
        **{f"reference_{name}": value for name, value in own.items()},
        "most_frequent": most_frequent(generated)[0],
        "mean_length": sum(map(len, generated)) / len(generated),
        "reference_mean_length": sum(len(row["reference"]) for row in rows) / len(rows),
        "empty": sum(not text.strip() for text in generated),
        "cut": sum(bool(texts[0].get("cut")) for texts in moments),
    }


def validation_scores(rows: Sequence[Row], floor: float) -> tuple[dict[str, float], list[str]]:
    """What a training looks at: `cider`, `chrf`, `diversity` and `reference_diversity` as means over the languages, and the
    languages whose captions have collapsed. CIDEr of a single moment counts as 0."""
    by_language = {}
    for language, found in rows_by_language(rows).items():
        generated, references = _texts(moments_of_rows(found))
        cider = scores.cider(tokens(generated, language), [tokens(texts, language) for texts in references])
        by_language[language] = {
            "cider": cider.value if cider else 0.0,
            "chrf": scores.chrf(generated, references).value,
            "diversity": diversity(generated),
            "reference_diversity": diversity([texts[0] for texts in references]),
        }
    names = next(iter(by_language.values()), {})
    means = {name: sum(found[name] for found in by_language.values()) / len(by_language) for name in names}
    return means, _collapsed(by_language, floor)


def rows_by_language(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each language, by its name."""
    found = defaultdict(list)
    for row in rows:
        found[row["language"]].append(row)
    return dict(sorted(found.items()))


def moments_of_rows(rows: Sequence[Row]) -> list[list[Row]]:
    """The rows of each moment, in the order of the first of each."""
    moments = defaultdict(list)
    for row in rows:
        moments[row["video"], row["start_s"], row["end_s"]].append(row)
    return list(moments.values())


def _texts(moments: Sequence[Sequence[Row]]) -> tuple[list[str], list[list[str]]]:
    """Of each moment, the generated text and the references."""
    return [rows[0]["generated"] for rows in moments], [
        [row["reference"] for row in rows] for rows in moments
    ]


def _exact(generated: str, references: Sequence[str]) -> bool:
    """Equal to a reference, but for spaces."""
    return generated.split() in [reference.split() for reference in references]


def _collapsed(by_language: Mapping[str, Mapping[str, Any]], floor: float) -> list[str]:
    """Languages whose captions have less than `floor` (0 to 1) of their references' diversity."""
    return [
        language
        for language, score in by_language.items()
        if score["diversity"] < floor * score["reference_diversity"]
    ]


def warn_of_collapse(languages: Sequence[str], floor: float) -> None:
    """Print a warning for the languages, if any, whose captions have collapsed."""
    if languages:
        print(
            f"WARNING: the captions in {', '.join(languages)} repeat themselves: fewer than {floor:g} of the "
            "references' diversity (captioner.evaluation.diversity_floor)",
            flush=True,
        )
