"""Frame-caption retrieval with a CLIP model, on single frames."""

from itertools import groupby

import numpy as np


def recall(images: np.ndarray, texts: np.ndarray, captions: list[str]) -> dict[str, float]:
    """Text-to-image and image-to-text R@1 and R@5, in percent.

    `images` and `texts` are embeddings [N, D] of N pairs, `captions` the pairs' texts. Pairs with the
    same text are each other's right answers: a text's hit is any image of that text, and an image is
    matched against the different texts. Ties count as misses, so equal embeddings score nothing.
    """
    images, texts = _normalised(images), _normalised(texts)
    unique, first, group = np.unique(captions, return_index=True, return_inverse=True)
    scores = images @ texts[first].T  # image x unique text
    right = group[:, None] == np.arange(len(unique))
    of_text = scores.T[group]  # query text x image
    t2i = _ranks(of_text, right.T[group])
    i2t = _ranks(scores, right)
    return {
        "t2i_r1": _percent(t2i < 1),
        "t2i_r5": _percent(t2i < 5),
        "i2t_r1": _percent(i2t < 1),
        "i2t_r5": _percent(i2t < 5),
        "pairs": len(captions),
        "unique_texts": len(unique),
        "chance_r1": _percent(np.bincount(group)[group] / len(captions)),
        "i2t_chance_r1": 100 / len(unique),
    }


def by_language(
    images: np.ndarray, texts: np.ndarray, captions: list[str], languages: list[str]
) -> dict[str, dict[str, float]]:
    """`recall` of every language's pairs by themselves."""
    found = {}
    order = sorted(range(len(captions)), key=lambda row: languages[row])
    for language, rows in groupby(order, key=lambda row: languages[row]):
        chosen = list(rows)
        found[language] = recall(images[chosen], texts[chosen], [captions[row] for row in chosen])
    return found


def _ranks(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """How many wrong candidates score at least as high as the best right one, a query a row."""
    best = np.where(right, scores, -np.inf).max(axis=1, keepdims=True)
    return ((scores >= best) & ~right).sum(axis=1)


def _normalised(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)


def _percent(values: np.ndarray) -> float:
    return round(100 * float(np.mean(values)), 4)
