"""Decoders by name. A decoder is one or more ways of reading a file, tried in order.

A reading knows when each frame is shown and gives the pictures of those asked for; it raises `Unsure` when the
next way should be tried, and VideoError when the decoder can give no frames of the file.
"""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from workflow_scripts.lib.frames.decoders.reading import Reading

# Modules and classes by quality: a decoder that is not used is not imported.
SEQUENTIAL = "pyav_sequential:SequentialReading"
DECODERS = {
    "pyav": {
        "exact": ["pyav:IndexedReading", SEQUENTIAL],
        "fast": ["pyav:FastReading", "pyav:IndexedReading", SEQUENTIAL],
        "keyframes": ["pyav:KeyframeReading", "pyav_sequential:SequentialKeyframeReading"],
    },
    "decord": {"exact": ["decord:DecordReading"]},
    "torchcodec": {"exact": ["torchcodec:TorchcodecReading"]},
    "nvdec": {"exact": ["nvdec:NvdecReading"]},
}


def readings(decoder: str, quality: str = "exact") -> list[Callable[[Path], Reading]]:
    """The ways in which a decoder reads a file, fastest first.

    Imports the decoder. UserError when it cannot be used on this machine, KeyError for a quality that it lacks.
    """
    found = []
    for name in DECODERS[decoder][quality]:
        module, kind = name.split(":")
        found.append(getattr(import_module(f"{__name__}.{module}"), kind))
    return found
