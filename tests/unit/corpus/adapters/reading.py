"""What an adapter makes of a small annotation file."""

from workflow_scripts.lib.corpus.adapters import ADAPTERS
from workflow_scripts.lib.corpus.annotations import PROBLEMS, Problem


def read(adapter, file, text, **options):
    """Write `text` into `file` and read it: videos, and problems as (line, kind, what)."""
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    made = ADAPTERS[adapter]
    found = list(made.read(file, made.options(**options)))
    problems = [(each.line, each.kind, each.what) for each in found if isinstance(each, Problem)]
    assert {kind for _, kind, _ in problems} <= set(PROBLEMS)
    return [each for each in found if not isinstance(each, Problem)], problems


def moments(video):
    """Text, start and end of every caption."""
    return [(caption.text, caption.start_s, caption.end_s) for caption in video.captions]
