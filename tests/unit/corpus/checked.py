"""What the checks make of a small annotation file."""

from workflow_scripts.lib.config import CorpusConfig
from workflow_scripts.lib.corpus.checks import read_corpus


def read(folder, text, adapter="csv", **settings):
    """Videos, captions and problems of an annotation file with that text. The videos need not be there."""
    file = folder / f"notes.{adapter}"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_all({"adapter": adapter, "annotations": file, **settings})


def read_all(settings):
    """The same of annotation files that are there."""
    defaults = {"name": "c", "languages": ["en", "ko", "zh"], "check_files": False}
    problems = []
    rows = list(read_corpus(CorpusConfig(**defaults | settings), problems.append))
    return [video for video, _ in rows], [captions for _, captions in rows], problems
