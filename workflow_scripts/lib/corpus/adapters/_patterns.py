"""Where a format's videos lie, as far as its rows tell."""

import string
from pathlib import Path

from workflow_scripts.lib.config_types import Text
from workflow_scripts.lib.corpus.annotations import AdapterOptions
from workflow_scripts.lib.errors import UserError


class PathOptions(AdapterOptions):
    """Options of a format whose rows name videos, not files. Each format has its own default."""

    video_path: Text
    """Path of a video under `corpus.root`, with fields of its row in braces; `.*` at the end stands for any ending."""


class PathPattern:
    """`videos/{page_dir}/{videoid}.mp4`, filled in for every row."""

    def __init__(self, pattern: str, fields: list[str], annotations: Path):
        """UserError when the pattern is none, or needs a field that the rows do not have."""
        try:
            needed = {name for _, name, _, _ in string.Formatter().parse(pattern) if name is not None}
        except ValueError as error:
            raise UserError(f"corpus.options.video_path: {pattern!r} is no pattern: {error}") from None
        if unknown := needed - set(fields):
            raise UserError(
                f"{annotations}: corpus.options.video_path {pattern!r} needs {', '.join(sorted(unknown)) or 'a name'}; "
                f"the rows have {', '.join(fields)}"
            )
        try:
            pattern.format_map(dict.fromkeys(fields, "0"))
        except (ValueError, LookupError, AttributeError) as error:
            raise UserError(f"corpus.options.video_path: {pattern!r} cannot be filled in: {error}") from None
        self.pattern = pattern

    def __call__(self, fields: dict[str, str]) -> str:
        return self.pattern.format_map(fields)
