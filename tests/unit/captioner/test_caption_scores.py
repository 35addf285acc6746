"""Scores against values that were computed by hand, and those of sacrebleu's own commands."""

from math import exp

import pytest
from sacrebleu.metrics import BLEU, CHRF

from workflow_scripts.lib.captioner import scores

GENERATED = ["a red circle moves left", "the dog", "빨간 원", ""]
REFERENCES = [
    ["a red circle moves right", "one red circle goes left"],
    ["the big dog runs"],
    ["빨간 별", "파란 원", "빨간 원이"],
    ["something"],
]


def split(texts):
    return [text.split() for text in texts]


def test_bleu_and_chrf_are_those_of_sacrebleu():
    columns = [[texts[k] if k < len(texts) else None for texts in REFERENCES] for k in range(3)]
    found = scores.bleu(GENERATED, REFERENCES, "13a")
    for order, name in ((4, "bleu"), (3, "bleu_3"), (2, "bleu_2"), (1, "bleu_1")):
        metric = BLEU(tokenize="13a", max_ngram_order=order)
        assert found[name].value == pytest.approx(metric.corpus_score(GENERATED, columns).score), name
    assert found["bleu_1"].value > found["bleu"].value > 0
    expected = CHRF(word_order=2).corpus_score(GENERATED, columns).score
    assert scores.chrf(GENERATED, REFERENCES).value == pytest.approx(expected)


def test_cider_by_hand():
    references = [split(["a b"]), split(["c d"])]
    perfect = scores.cider(split(["a b", "c d"]), references)
    # of four lengths of phrases, these texts have two
    assert perfect.value == pytest.approx(500)
    # "a" has one of two equally rare words (cosine 1/sqrt 2), and a phrase of two less, of which comes the penalty
    part = scores.cider(split(["a", "x"]), references)
    assert part.value == pytest.approx(1000 * 0.5**0.5 * exp(-1 / 72) / 4 / 2)


def test_what_all_moments_say_is_worth_nothing_to_cider():
    references = [split(["a man walks"]), split(["a man runs"])]
    assert scores.cider(split(["a man", "a man"]), references).value == 0


def test_cider_says_nothing_of_one_moment():
    assert scores.cider(split(["a b"]), [split(["a b"])]) is None


def test_rouge_l_by_hand():
    found = scores.rouge_l(split(["a c"]), [split(["a b c", "x"])])
    precision, recall, beta = 1, 2 / 3, 1.2**2
    assert found.value == pytest.approx(100 * (1 + beta) * precision * recall / (recall + beta * precision))


def test_meteor_by_hand():
    def meteor(generated, reference, language="en"):
        return scores.meteor_without_synonyms(split([generated]), [split([reference])], language).value

    # all words, in one run of three: half of (runs / words) cubed is taken off
    assert meteor("a red ring", "a red ring") == pytest.approx(100 * (1 - 0.5 / 27))
    assert meteor("ring red a", "a red ring") == pytest.approx(50)
    # two of two words, of a reference of three: recall counts nine times as much as precision
    mean = (2 / 3) / (0.9 * 1 + 0.1 * 2 / 3)
    assert meteor("a red", "a red ring") == pytest.approx(100 * mean * (1 - 0.5 / 8))


def test_meteor_knows_english_stems_and_no_synonyms():
    def meteor(generated, reference, language):
        return scores.meteor_without_synonyms(split([generated]), [split([reference])], language).value

    assert meteor("cats running", "cat runs", "en") == pytest.approx(100 * (1 - 0.5 / 8))
    assert meteor("cats running", "cat runs", "de") == 0
    assert meteor("car", "automobile", "en") == 0


def test_the_best_of_several_references_counts():
    words, gold = split(["a b", "x y"]), [split(["c d", "a b"]), split(["x y"])]
    assert scores.rouge_l(words, gold).value == pytest.approx(100)
    assert scores.meteor_without_synonyms(words, gold, "en").value == pytest.approx(100 * (1 - 0.5 / 8))
