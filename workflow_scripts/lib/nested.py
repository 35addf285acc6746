"""Nested mappings, compared."""

from collections.abc import Iterator
from typing import Any


def differing(one: Any, other: Any, name: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ: `("config.lr", 0.001, 0.002)`; a key that one of them lacks counts as None."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}):
            yield from differing(one.get(key), other.get(key), f"{name}.{key}".strip("."))
    elif one != other:
        yield name, one, other
