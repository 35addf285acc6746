"""Are two shards of the same encoder? Each has its identity (see `encoders.identity`) as JSON text."""

import json
from pathlib import Path
from typing import Any

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.nested import differing


def refuse_other_encoder(file: Path, encoder: str | None, other: Path, others: str | None) -> None:
    """UserError when two shards are of different encoders; it says where they differ."""
    if encoder != others:
        different = difference(parsed(encoder), parsed(others)) or "the same, written otherwise"
        raise UserError(
            f"{file}: made by another encoder than {other} ({different}); delete the shards that are out of date and run"
            " the step that makes them again"
        )


def parsed(encoder: str | None) -> Any:
    """An identity as it was before it became text; what is no JSON, as others write it, as it is."""
    try:
        return encoder and json.loads(encoder)
    except ValueError:
        return encoder


def difference(found: Any, expected: Any) -> str | None:
    """Where two identities differ, as `space.model: 'a' instead of 'b'`; None when they are the same."""
    each = (
        f"{name and name + ': '}{one!r} instead of {other!r}"
        for name, one, other in differing(found, expected)
    )
    return ", ".join(each) or None
