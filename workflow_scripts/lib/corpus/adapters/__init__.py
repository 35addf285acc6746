"""Annotation formats by name. One small module reads one format, and being in this folder registers it.

A module's `ADAPTER` names the format, its options and its function: of the annotation file (or folder) and the
options, it yields an AnnotatedVideo for every video, in the file's order, and a Problem for every row that cannot be
read. It checks the form of a row, not its sense: paths, times, splits, languages and duplicates are checked in one
place for all formats (lib/corpus/checks.py). It raises UserError when the file as a whole is not in its format.
Modules whose names begin with an underscore are what several formats share.
"""

from importlib import import_module
from pkgutil import iter_modules

from workflow_scripts.lib.corpus.annotations import Adapter


def _registered() -> dict[str, Adapter]:
    found: dict[str, Adapter] = {}
    for module in sorted(each.name for each in iter_modules(__path__) if not each.name.startswith("_")):
        adapter = import_module(f"{__name__}.{module}").ADAPTER
        if adapter.name in found:
            raise RuntimeError(f"two adapters are called {adapter.name}")
        found[adapter.name] = adapter
    return found


ADAPTERS = _registered()
