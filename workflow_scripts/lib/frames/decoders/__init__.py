"""Decoders by name. A decoder is one or more ways of reading a file, tried in order.

A reading knows when each frame is shown and gives the pictures of those asked for; it raises `Unsure` when the
next, slower way should be tried, and VideoError when the file gives no frames.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from workflow_scripts.lib.frames.decoders.reading import Reading

# Module and classes: a decoder that is not used is not imported.
DECODERS = {
    "pyav": ("pyav", ["IndexedReading", "SequentialReading"]),
    "decord": ("decord", ["DecordReading"]),
}


def readings(decoder: str) -> list[Callable[[Path], Reading]]:
    """The ways in which a decoder reads a file, fastest first."""
    module, classes = DECODERS[decoder]
    loaded = import_module(f"{__name__}.{module}")
    return [getattr(loaded, name) for name in classes]
