"""How good generated captions are, by language. All rates are percent. Nothing here needs torch or a download."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from sacrebleu.metrics import BLEU, CHRF

Row = Mapping[str, Any]
# BLEU on characters, where words are not what spaces cut out.
NO_SPACES = {"ko", "zh", "ja", "th", "km", "lo", "my"}


def evaluate(rows: Sequence[Row], diversity_floor: float) -> dict[str, Any]:
    """Metrics of the rows of captions_<split>.jsonl: `by_language`, and whether the captions have collapsed.

    `diversity_floor` is the least share (0 to 1) of the references' own diversity that generated captions keep.
    """
    by_language = defaultdict(list)
    for row in rows:
        by_language[row["language"]].append(row)
    scores = {language: evaluate_language(language, found) for language, found in sorted(by_language.items())}
    collapsed = [
        language
        for language, score in scores.items()
        if score["diversity"] < diversity_floor * score["reference_diversity"]
    ]
    return {
        "by_language": scores,
        "diversity_warning": bool(collapsed),
        "diversity_warning_languages": collapsed,
    }


def evaluate_language(language: str, rows: Sequence[Row]) -> dict[str, Any]:
    """Metrics of one language's captions.

    A moment with several captions has one generated text, which is compared with all of them. chrF is chrF++
    (Popović, WMT 2017: characters and word pairs); BLEU is the corpus's (Papineni et al., ACL 2002).
    """
    moments = _moments(rows)
    generated = [texts[0]["generated"] for texts in moments]
    references = [[row["reference"] for row in texts] for texts in moments]
    most = max(len(texts) for texts in references)
    columns = [[texts[k] if k < len(texts) else None for texts in references] for k in range(most)]
    tokenizer = "char" if language.split("-")[0] in NO_SPACES else "13a"
    frequent, times = Counter(generated).most_common(1)[0]
    return {
        "captions": len(rows),
        "moments": len(moments),
        **attribute_accuracy(rows),
        "exact_match": _percent(sum(map(_exact, generated, references)), len(moments)),
        "chrf": CHRF(word_order=2).corpus_score(generated, columns).score,
        "bleu": BLEU(tokenize=tokenizer).corpus_score(generated, columns).score,
        "bleu_tokenizer": tokenizer,
        "diversity": diversity(generated),
        "reference_diversity": diversity([texts[0] for texts in references]),
        "most_frequent": frequent,
        "most_frequent_share": _percent(times, len(generated)),
        "mean_length": sum(map(len, generated)) / len(generated),
        "reference_mean_length": sum(len(row["reference"]) for row in rows) / len(rows),
        "empty": sum(not text.strip() for text in generated),
    }


def _moments(rows: Sequence[Row]) -> list[list[Row]]:
    moments = defaultdict(list)
    for row in rows:
        moments[row["video"], row["start_s"], row["end_s"]].append(row)
    return list(moments.values())


def _exact(generated: str, references: Sequence[str]) -> bool:
    """Equal to a reference, but for spaces."""
    return generated.split() in [reference.split() for reference in references]


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole


def diversity(texts: Sequence[str]) -> float:
    """Unique texts a text, in percent. References repeat themselves too: compare with theirs."""
    return _percent(len(set(texts)), len(texts))


def attribute_accuracy(rows: Sequence[Row]) -> dict[str, Any]:
    """`attribute_accuracy`, the mean over all attributes, and `attribute_accuracy_by_kind`; nothing without attributes."""
    right, total = Counter(), Counter()
    for marks in attributes_right(rows):
        right.update(kind for kind, is_right in marks.items() if is_right)
        total.update(marks.keys())
    if not total:
        return {}
    return {
        "attribute_accuracy": _percent(right.total(), total.total()),
        "attribute_accuracy_by_kind": {kind: _percent(right[kind], total[kind]) for kind in sorted(total)},
    }


def attributes_right(rows: Sequence[Row]) -> list[dict[str, bool]]:
    """For every row, whether each of its attributes is right, by kind.

    An attribute is right when the text says its word, and no other word of that kind (colours, shapes ...)
    that the rows of its language know: naming every colour is not knowing one.
    """
    words = defaultdict(set)
    for row in rows:
        for kind, word in row.get("attributes", {}).items():
            words[row.get("language"), kind].add(word)
    patterns = {key: _any_of(found) for key, found in words.items()}
    return [
        {
            kind: set(patterns[row.get("language"), kind].findall(row["generated"].casefold()))
            == {word.casefold()}
            for kind, word in row.get("attributes", {}).items()
        }
        for row in rows
    ]


def _any_of(words: set[str]) -> re.Pattern[str]:
    """Finds any of the words, the longest first, so that a word inside another one is not counted for itself.

    Words in Latin letters are found as whole words. Others may be followed by anything: Korean particles are
    written without a space.
    """
    alternatives = []
    for word in sorted(words, key=lambda word: (-len(word), word)):
        pattern = re.escape(word.casefold())
        alternatives.append(rf"(?<![a-z]){pattern}(?![a-z])" if word.isascii() else pattern)
    return re.compile("|".join(alternatives))
