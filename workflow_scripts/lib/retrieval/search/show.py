"""What a search found, as JSON and as a table."""

import json
import unicodedata
from collections.abc import Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workflow_scripts.lib.keys import video_key
from workflow_scripts.lib.report.numbers import DASH
from workflow_scripts.lib.retrieval.search.index import Found
from workflow_scripts.lib.retrieval.search.places import Place, Span
from workflow_scripts.lib.retrieval.search.query import Query

WIDE = 100_000  # columns: nothing is cut, since names are there to be copied
CONTROL = {"Cc", "Cs", "Zl", "Zp"}  # categories of Unicode


def as_json(query: Query, found: Sequence[Found]) -> str:
    """One line; `start_s` and `end_s` of the best clip are seconds in the file of `path`; null where times are not known."""
    content = {
        "query": query.text,
        "tokens": query.tokens,
        "read": query.read,
        "cut": is_cut(query),
        "videos": [
            {
                "rank": one.rank,
                "score": round(one.score, 6),
                "video": video_key(one.place.video),
                "id": one.place.id,
                "path": one.place.path,
                "split": one.place.split,
                "start_s": in_file(one.place, one.span.start_s),
                "end_s": in_file(one.place, one.span.end_s),
                "frames": [one.span.first_frame, one.span.last_frame],
            }
            for one in found
        ],
    }
    return json.dumps(content, ensure_ascii=False)


def as_table(query: Query, found: Sequence[Found]) -> str:
    """The query, and a line a video: rank, score, span of the best clip in the file, key, id and path."""
    table = Table(box=None, show_edge=False, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    for name in ("best clip", "video", "id", "path"):
        table.add_column(name)
    for one in found:
        texts = (
            str(one.rank), f"{one.score:.3f}", span_text(one.place, one.span), video_key(one.place.video),
            printable(one.place.id), printable(one.place.path),
        )  # fmt: skip
        table.add_row(*map(Text, texts))
    target = StringIO()
    Console(file=target, width=WIDE, color_system=None).print(table)
    lines = [line.rstrip() for line in target.getvalue().splitlines()]
    return "\n".join([printable(query.text), *lines, ""])


def span_text(place: Place, span: Span) -> str:
    """`1:02.5–1:04.0` in the file; of features without times, the frames."""
    start, end = in_file(place, span.start_s), in_file(place, span.end_s)
    if start is None:
        return f"frames {span.first_frame}{DASH}{span.last_frame} of {place.frames}"
    return f"{clock(start)}{DASH}{clock(end)}"


def clock(seconds: float) -> str:
    """62.52 -> 1:02.5, 3723 -> 1:02:03.0."""
    minutes, tenths = divmod(round(seconds * 10), 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def in_file(place: Place, seconds: float | None) -> float | None:
    """A time of the clip as one of the file that it is cut from."""
    return None if seconds is None else round((place.clip_start_s or 0.0) + seconds, 3)


def is_cut(query: Query) -> bool:
    return query.cut_by_encoder or query.read < query.tokens


def cut_line(query: Query) -> str:
    """What of a query is not read."""
    if query.read < query.tokens:
        return f"cut: the query has {query.tokens} tokens, of which the model reads the first {query.read}"
    return f"cut: the query is longer than the {query.tokens} tokens that the encoder reads"


def printable(text: str) -> str:
    """A name of an annotation as one line that moves no cursor."""
    return "".join(f"\\u{ord(c):04x}" if unicodedata.category(c) in CONTROL else c for c in text)
