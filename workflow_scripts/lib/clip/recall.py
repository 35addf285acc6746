"""Recall of frame-caption retrieval in both directions, over blocks of scores that are never held together."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

RECALLS = (1, 5, 10)
BLOCK = {"cpu": 1024, "cuda": 8192}  # queries, and candidates, that are multiplied at a time


def recall(
    images: np.ndarray,
    texts: np.ndarray,
    image: np.ndarray,
    text: np.ndarray,
    device: torch.device | None = None,
) -> dict[str, float]:
    """Text-to-image and image-to-text R@1, R@5 and R@10, in percent.

    `images` [Ni, D] and `texts` [Nt, D] are embeddings, and the rows `image` [N] and `text` [N] of them the pairs. All
    pairs of an image or a text are right: an image with five captions is found by each, and finds any. Ties count as
    misses, so equal embeddings score nothing. Rows that no pair names are no candidates.
    """
    image_rows, image = np.unique(image, return_inverse=True)
    text_rows, text = np.unique(text, return_inverse=True)
    images, texts = _unit(images[image_rows]), _unit(texts[text_rows])
    right = np.unique(np.stack([text, image], axis=1), axis=0)
    t2i = wrong_ahead(texts, images, right, device)[text]  # every caption is a query
    i2t = wrong_ahead(images, texts, right[:, ::-1], device)
    return {
        **{f"t2i_r{k}": _percent(t2i < k) for k in RECALLS},
        **{f"i2t_r{k}": _percent(i2t < k) for k in RECALLS},
        "pairs": len(text),
        "unique_texts": len(texts),
        "unique_images": len(images),
        "chance_r1": _percent(np.bincount(right[:, 0])[text] / len(images)),
        "i2t_chance_r1": _percent(np.bincount(right[:, 1]) / len(texts)),
    }


def by_language(
    images: np.ndarray,
    texts: np.ndarray,
    image: np.ndarray,
    text: np.ndarray,
    languages: Sequence[str],
    device: torch.device | None = None,
) -> dict[str, dict[str, float]]:
    """`recall` of every language's pairs by themselves."""
    of_pair = np.asarray(languages)
    return {
        str(language): recall(images, texts, image[of_pair == language], text[of_pair == language], device)
        for language in np.unique(of_pair)
    }


@torch.inference_mode()
def wrong_ahead(
    queries: np.ndarray, candidates: np.ndarray, right: np.ndarray, device: torch.device | None = None
) -> np.ndarray:
    """[Nq], how many wrong candidates score at least as high as the best right one.

    `queries` [Nq, D] and `candidates` [Nc, D] are unit vectors, `right` [P, 2] the pairs of both, each once; every query
    has one. The best right score is taken from the same products that it is compared with: others of the same numbers
    might be rounded otherwise, and ties be lost. A score that is no number ranks last.
    """
    device = device or torch.device("cpu")
    size = BLOCK[device.type]
    right = right[np.argsort(right[:, 0], kind="stable")]
    ahead = np.zeros(len(queries), dtype=np.int64)
    for start in range(0, len(queries), size):
        rows = torch.from_numpy(queries[start : start + size]).to(device)
        first, last = np.searchsorted(right[:, 0], [start, start + len(rows)])
        own = torch.from_numpy(right[first:last] - [start, 0]).to(device)
        best = torch.full((len(rows),), -torch.inf, device=device)
        for block in torch.unique(own[:, 1] // size).tolist():
            scores, (row, column) = _block(rows, candidates, own, block * size, size)
            best = best.scatter_reduce(0, row, scores[row, column], "amax")
        count = torch.zeros(len(rows), dtype=torch.long, device=device)
        for block_start in range(0, len(candidates), size):
            scores, (row, column) = _block(rows, candidates, own, block_start, size)
            not_behind = ~(scores < best[:, None])
            not_behind[row, column] = False
            count += not_behind.sum(dim=1)
        ahead[start : start + len(rows)] = count.cpu().numpy()
    return ahead


def _block(
    rows: Tensor, candidates: np.ndarray, own: Tensor, start: int, size: int
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Scores of `rows` with the candidates from `start` on, and where in them the right ones are."""
    block = torch.from_numpy(candidates[start : start + size]).to(rows.device)
    here = own[(own[:, 1] >= start) & (own[:, 1] < start + size)]
    return rows @ block.T, (here[:, 0], here[:, 1] - start)


def _unit(rows: np.ndarray) -> np.ndarray:
    rows = rows.astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)


def _percent(values: np.ndarray) -> float:
    return round(100 * float(np.mean(values)), 4)
