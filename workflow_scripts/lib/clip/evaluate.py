"""Frame-caption retrieval with a CLIP model, on single frames."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np


def recall(
    images: np.ndarray, texts: np.ndarray, captions: Sequence[str], pictures: Sequence[str]
) -> dict[str, float]:
    """Text-to-image and image-to-text R@1 and R@5, in percent.

    `images` and `texts` are embeddings [N, D] of N pairs, `captions` the pairs' texts and `pictures` names of
    their images. Equal captions are one text and equal pictures one image, and all pairs of them are right: a
    picture with five captions is found by each, and finds any. Ties count as misses, so equal embeddings score
    nothing.
    """
    unique_texts, first_text, text = np.unique(captions, return_index=True, return_inverse=True)
    unique_images, first_image, image = np.unique(pictures, return_index=True, return_inverse=True)
    scores = _normalised(images[first_image]) @ _normalised(texts[first_text]).T
    right = np.zeros(scores.shape, dtype=bool)
    right[image, text] = True
    t2i = _ranks(scores.T, right.T)[text]  # every caption is a query
    i2t = _ranks(scores, right)
    return {
        "t2i_r1": _percent(t2i < 1),
        "t2i_r5": _percent(t2i < 5),
        "i2t_r1": _percent(i2t < 1),
        "i2t_r5": _percent(i2t < 5),
        "pairs": len(captions),
        "unique_texts": len(unique_texts),
        "unique_images": len(unique_images),
        "chance_r1": _percent(right.mean(axis=0)[text]),
        "i2t_chance_r1": _percent(right.mean(axis=1)),
    }


def by_language(
    images: np.ndarray,
    texts: np.ndarray,
    captions: Sequence[str],
    pictures: Sequence[str],
    languages: Sequence[str],
) -> dict[str, dict[str, float]]:
    """`recall` of every language's pairs by themselves."""
    found = {}
    order = sorted(range(len(captions)), key=lambda row: languages[row])
    for language, rows in groupby(order, key=lambda row: languages[row]):
        chosen = list(rows)
        found[language] = recall(
            images[chosen],
            texts[chosen],
            [captions[row] for row in chosen],
            [pictures[row] for row in chosen],
        )
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
