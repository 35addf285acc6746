"""From the text of a query to what an index is searched with, as features of captions are made."""

import itertools
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
import torch

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.encoders.encoder import load_encoder
from workflow_scripts.lib.features.made_by import difference
from workflow_scripts.lib.retrieval.encode import query_vectors
from workflow_scripts.lib.retrieval.model_folder import read_model
from workflow_scripts.lib.retrieval.search.folder import MODEL, IndexInfo

TOGETHER = 64  # queries that are encoded at a time


class Query(NamedTuple):
    """A query that can be searched with."""

    text: str
    vector: np.ndarray
    """[D] float32, at unit length."""
    tokens: int
    """Tokens of the text, as far as the encoder reads."""
    read: int
    """Tokens of these that the model reads."""
    cut_by_encoder: bool
    """Whether the text is longer than the encoder reads."""


class QueryEncoder:
    """The text side of the encoder of an index's captions, and the query branch of its model."""

    def __init__(self, index: Path, info: IndexInfo, device: torch.device, trained_clip: Path | None = None):
        """`trained_clip` takes the place of the folder that the index names. UserError when the encoder is not known, not
        there, or not the one that made the features of the captions."""
        if info.encoder is None:
            raise UserError(
                f"{index}: the features of this corpus were extracted elsewhere, so that the encoder for a query is not"
                " known here; give build_index --encoder, the section of the one that made them, if it can run here"
            )
        section = info.encoder.section.model_copy(update={"compile": False})  # takes longer than a query
        trained_clip = trained_clip or (info.encoder.trained_clip and Path(info.encoder.trained_clip))
        if trained_clip is not None and not Path(trained_clip).is_dir():
            raise UserError(
                f"{trained_clip}: not there, the folder of the model that encodes queries; give --trained-clip FOLDER if"
                " it was moved"
            )
        self._encoder = load_encoder(section, trained_clip, device, sides=("text",))
        if changed := difference(self._encoder.identity, info.encoder.identity):
            raise UserError(
                f"{index}: the encoder '{section.name}' is not the one that the index was built with ({changed}); bring that"
                " one back, or make features, model and index anew"
            )
        self._dtype = getattr(torch, section.dtype)
        self._model = read_model(index / MODEL).to(device)

    def encode(self, texts: Sequence[str]) -> list[Query]:
        """Queries of texts that `checked` has let through."""
        tokens = self._encoder.tokenize(list(texts))
        words = self._encoder.encode_captions(tokens).words
        stored = words.to(self._dtype).float().cpu().numpy()  # rounded as the features of captions are
        features = np.split(stored, np.cumsum(tokens.lengths)[:-1])
        vectors = query_vectors(self._model, features).cpu().numpy()
        if not (finite := np.isfinite(vectors).all(axis=1)).all():
            raise UserError(
                f"--query {texts[int(finite.argmin())]!r}: the encoder makes NaN of it; say it otherwise"
            )
        longest = self._model.config.max_desc_l
        return [
            Query(text, vector, len(rows), min(len(rows), longest), bool(cut))
            for text, vector, rows, cut in zip(texts, vectors, features, tokens.cut, strict=True)
        ]


def checked(text: str) -> str:
    """The text composed (NFC), without white space around it; UserError when nothing is left, or it is no Unicode."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UserError(f"--query {text!r}: is not in the terminal's encoding; use UTF-8") from None
    composed = unicodedata.normalize("NFC", text).strip()
    if not composed:
        raise UserError("--query: is empty; say what to search for")
    return composed


def read_queries(given: Sequence[str], stdin: TextIO) -> Iterator[list[str]]:
    """Queries, many at a time; `-`: the lines of `stdin`, one by one where a person types them."""
    texts = itertools.chain.from_iterable(_lines(stdin.buffer) if text == "-" else [text] for text in given)
    size = 1 if "-" in given and stdin.isatty() else TOGETHER
    while some := list(itertools.islice(texts, size)):
        yield some


def _lines(lines: Iterable[bytes]) -> Iterator[str]:
    """Queries, a line each; blank lines are none. UserError for a line that is not UTF-8."""
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"--query -: line {number} is not UTF-8 ({error.reason}); convert the queries"
            ) from None
        if text.strip():
            yield checked(text)
