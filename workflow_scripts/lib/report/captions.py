"""What the generated captions are like, as tables: a row a measure, a column a language."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from workflow_scripts.lib.report import numbers


class Measure(NamedTuple):
    label: str
    meaning: str
    form: Callable[[float | None], str] = numbers.percent


SCORES = {
    "attribute_accuracy": Measure(
        "Attributes right", "words that a right caption must hold, said without another word of their kind"
    ),
    "exact_match": Measure("Word for word", "captions that equal a reference"),
    "cider": Measure(
        "CIDEr",
        "phrases of one to four words that the references have as well, rare ones counting more; up to 1,000, on the"
        " scale of published results",
        numbers.one_decimal,
    ),
    "chrf": Measure(
        "chrF++", "runs of up to six characters, and words and pairs of words, that a reference has as well"
    ),
    "bleu": Measure(
        "BLEU", "phrases of one to four words that the references have as well, each as often as there"
    ),
    "bleu_3": Measure("BLEU-3", "the same of up to three words"),
    "bleu_2": Measure("BLEU-2", "of up to two"),
    "bleu_1": Measure("BLEU-1", "of single words"),
    "meteor_without_synonyms": Measure(
        "METEOR without synonyms",
        "words that a reference has as well, in English of the same stem, and in the same order",
    ),
    "rouge_l": Measure(
        "ROUGE-L", "the longest sequence of words that a reference has in the same order, gaps allowed"
    ),
}
PARTS = ("bleu_3", "bleu_2", "bleu_1")
VARIETY = {
    "diversity": Measure("Different captions", "captions that are left once repeated ones are removed"),
    "distinct_1": Measure("Different words", "words that are left, of all that are said"),
    "distinct_2": Measure("Different pairs", "pairs of neighbouring words that are left"),
    "near_duplicates": Measure(
        "Nearly the same",
        "captions that another one resembles letter by letter (captioner.evaluation.near_duplicate), among 5,000 at"
        " most",
    ),
    "most_frequent_share": Measure("Most frequent caption", "captions that are this one sentence"),
    "mean_length": Measure("Length", "mean length in characters", numbers.one_decimal),
}
IMAGE_TEXT = {
    "matched": Measure(
        "Own frames", "cosine of the caption and the frames that it was written for", numbers.cosine
    ),
    "shuffled": Measure(
        "Another video's frames", "cosine of the same caption and frames of another video", numbers.cosine
    ),
    "difference": Measure(
        "Difference", "what is about this video; around 0, the captions suit any", numbers.cosine
    ),
    "beats_shuffled": Measure("Own frames fit better", "moments of which that is so; 50% is chance"),
    "references": Measure(
        "References", "cosine of the references and the same frames, to compare with", numbers.cosine
    ),
}


def section(captioner: Mapping[str, Any], corpus: Mapping[str, Any]) -> dict[str, Any]:
    """All of the section but the examples. `languages` is empty where nothing was measured; `corpus` is the metrics' part
    of that name."""
    test = captioner.get("test") or {}
    found = {name: scores for name, scores in test.items() if scores}
    scored = {name: scores["image_text"] for name, scores in found.items() if scores.get("image_text")}
    return {
        "warning": bool(captioner.get("diversity_warning")),
        "warning_languages": captioner.get("diversity_warning_languages") or [],
        "languages": [{"name": name, "captions": scores.get("captions")} for name, scores in found.items()],
        "scores": _rows(SCORES, found, _intervals, _kinds(found)),
        "intervals": any(scores.get("confidence") for scores in found.values()),
        "tokens": {name: scores["tokens"] for name, scores in found.items() if "tokens" in scores},
        "variety": _rows(VARIETY, found, _of_references),
        "image_text": _rows(IMAGE_TEXT, scored, _intervals),
        "image_text_languages": list(scored),
        "image_text_encoder": _one(scored, "encoder"),
        "context": _one(scored, "context"),
        "split": _total(scored, "split"),
        "references_split": _total(scored, "references_split"),
        "lost": _lost(captioner, found, corpus),
    }


def tiles(test: Mapping[str, Any] | None) -> list[dict]:
    """One tile a language: attributes right where the corpus has attributes, chrF++ where it has none."""
    made = []
    for language, found in (test or {}).items():
        if not found:
            continue
        name = "attribute_accuracy" if found.get("attribute_accuracy") is not None else "chrf"
        label = {"attribute_accuracy": "Attributes right", "chrf": "Caption chrF++"}[name]
        note = f"word for word {numbers.percent(found.get('exact_match'))} of {numbers.count(found.get('captions'))}"
        value = found.get(name)
        made.append(
            {"label": f"{label}, {language}", "value": numbers.percent(value), "bar": value, "note": note}
        )
    return made


def _rows(
    measures: Mapping[str, Measure],
    languages: Mapping[str, Mapping],
    beside: Callable[[Mapping, str, Measure], str | None],
    parts: Mapping[str, list[dict]] | None = None,
) -> list[dict]:
    """A row a measure that some language has, with what stands small under each number; `parts` are further rows, by the
    measure that they follow."""
    rows = []
    for name, measure in measures.items():
        if any(found.get(name) is not None for found in languages.values()):
            cells = [_cell(found, name, measure, beside) for found in languages.values()]
            kind = "part" if name in PARTS else "method"
            rows.append({"label": measure.label, "meaning": measure.meaning, "kind": kind, "cells": cells})
            rows += (parts or {}).get(name, [])
    return rows


def _cell(found: Mapping, name: str, measure: Measure, beside: Callable) -> dict:
    return {"text": measure.form(found.get(name)), "small": beside(found, name, measure)}


def _intervals(found: Mapping, name: str, measure: Measure) -> str | None:
    return numbers.interval((found.get("confidence") or {}).get(name), measure.form)


def _of_references(found: Mapping, name: str, measure: Measure) -> str | None:
    value = found.get(f"reference_{name}")
    return None if value is None else f"references {measure.form(value)}"


def _kinds(languages: Mapping[str, Mapping]) -> dict[str, list[dict]]:
    """Rows of the kinds of attributes."""
    by_kind = {name: found.get("attribute_accuracy_by_kind") or {} for name, found in languages.items()}
    rows = []
    for kind in sorted({kind for found in by_kind.values() for kind in found}):
        cells = [
            {
                "text": numbers.percent(by_kind[name].get(kind)),
                "small": _intervals(found, f"attribute_accuracy.{kind}", SCORES["attribute_accuracy"]),
            }
            for name, found in languages.items()
        ]
        rows.append({"label": kind, "meaning": "", "kind": "part", "cells": cells})
    return {"attribute_accuracy": rows}


def _lost(captioner: Mapping, languages: Mapping[str, Mapping], corpus: Mapping) -> dict[str, Any]:
    """Captions that were left out, or are not whole, by where: in the test split, in training, in generation."""
    there = (corpus["splits"].get("test") or {}).get("languages") or {}
    training = captioner.get("training") or {}
    return {
        "left_out": {
            name: lost
            for name, found in languages.items()
            if found.get("captions") and (lost := there.get(name, 0) - found["captions"]) > 0
        },
        "trained": (training.get("captions") or {}).get("train"),
        "cut_in_training": (training.get("captions_cut") or {}).get("train"),
        "cut": {name: found["cut"] for name, found in languages.items() if found.get("cut")},
        "empty": {name: found["empty"] for name, found in languages.items() if found.get("empty")},
    }


def _one(scored: Mapping[str, Mapping], name: str) -> Any:
    return next((found.get(name) for found in scored.values()), None)


def _total(scored: Mapping[str, Mapping], name: str) -> int:
    values: Iterable[int] = (found.get(name) or 0 for found in scored.values())
    return sum(values)
