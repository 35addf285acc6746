"""How near generated captions are to their references: one score a function, over moments, in percent.

All of it runs offline. What published numbers are computed with where this is not the same: the tokenizer (see `tokens`),
and WordNet's synonyms in METEOR, which are a download.
"""

from collections.abc import Mapping, Sequence
from itertools import zip_longest

import numpy as np
from sacrebleu.metrics import BLEU, CHRF

from workflow_scripts.lib.captioner.confidence import Score, mean

Texts = Sequence[str]
Tokens = Sequence[Sequence[str]]
ORDERS = 4  # of BLEU's n-grams


def bleu(generated: Texts, references: Sequence[Texts], tokenizer: str) -> dict[str, Score]:
    """`bleu`, the corpus's (Papineni et al., ACL 2002), and `bleu_1` to `bleu_3`, of n-grams up to that length, by
    sacrebleu; `tokenizer` is one of its."""
    parts = _statistics(BLEU(tokenize=tokenizer), generated, references)

    def up_to(order: int):
        matches, totals = slice(2, 2 + order), slice(2 + ORDERS, 2 + ORDERS + order)

        def score(sums: np.ndarray) -> float:
            counts = {"correct": sums[matches].tolist(), "total": sums[totals].tolist()}
            lengths = {"sys_len": int(sums[0]), "ref_len": int(sums[1])}
            return BLEU.compute_bleu(**counts, **lengths, smooth_method="exp", max_ngram_order=order).score

        return Score(parts, score)

    return {"bleu" if order == ORDERS else f"bleu_{order}": up_to(order) for order in range(ORDERS, 0, -1)}


def chrf(generated: Texts, references: Sequence[Texts]) -> Score:
    """chrF++ (Popović, WMT 2017: characters and word pairs), by sacrebleu."""
    metric = CHRF(word_order=2)
    parts = _statistics(metric, generated, references)
    return Score(parts, lambda sums: metric._compute_score_from_stats(sums.tolist()).score)


def cider(generated: Tokens, references: Sequence[Tokens]) -> Score | None:
    """CIDEr-D (Vedantam et al., CVPR 2015) by pycocoevalcap, times 100 as it is published: up to 1000.

    Words count the less the more moments have them in their references, these very ones. So it says nothing of a single
    moment: None. In the samples of an interval the weights stay those of all moments.
    """
    if len(generated) < 2:
        return None
    from pycocoevalcap.cider.cider import Cider

    _, scores = Cider().compute_score(*_as_coco(generated, references))
    return mean(100 * np.asarray(scores))


def rouge_l(generated: Tokens, references: Sequence[Tokens]) -> Score:
    """ROUGE-L (Lin, 2004) by pycocoevalcap: the longest common subsequence, recall before precision (beta 1.2)."""
    from pycocoevalcap.rouge.rouge import Rouge

    _, scores = Rouge().compute_score(*_as_coco(generated, references))
    return mean(100 * np.asarray(scores))


def meteor_without_synonyms(generated: Tokens, references: Sequence[Tokens], language: str) -> Score:
    """METEOR (Lavie and Agarwal, WMT 2007) by NLTK without its synonyms, which are WordNet's and a download: equal words,
    and in English equal stems (Porter). So it is lower than the original where a caption says the same in other words."""
    from nltk.stem.porter import PorterStemmer
    from nltk.translate.meteor_score import meteor_score

    stemmer = PorterStemmer() if language.split("-")[0] == "en" else _NoStems()
    return mean(
        [
            100 * meteor_score(list(map(list, texts)), list(text), stemmer=stemmer, wordnet=_NoSynonyms())
            for text, texts in zip(generated, references, strict=True)
        ]
    )


class _NoSynonyms:
    """In the place of NLTK's WordNet."""

    def synsets(self, word: str) -> list:
        return []


class _NoStems:
    def stem(self, word: str) -> str:
        return word


def _statistics(metric: BLEU | CHRF, generated: Texts, references: Sequence[Texts]) -> np.ndarray:
    """What sacrebleu adds up over a corpus, a row a moment. It is what its own bootstrap draws from, which keeps all
    samples of all rows in memory."""
    columns = list(zip_longest(*references))  # None where a moment has fewer references than another
    return np.array(metric._extract_corpus_statistics(generated, columns), dtype=np.float64)


def _as_coco(generated: Tokens, references: Sequence[Tokens]) -> tuple[Mapping, Mapping]:
    """References and captions as pycocoevalcap takes them: lists of texts with spaces between their tokens."""
    gold = {number: [" ".join(text) for text in texts] for number, texts in enumerate(references)}
    return gold, {number: [" ".join(text)] for number, text in enumerate(generated)}
