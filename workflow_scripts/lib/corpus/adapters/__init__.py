"""Annotation formats by name. One small module reads one format; `ADAPTERS` is the register.

An adapter is a function of the annotation file that yields an AnnotatedVideo for every video, in the file's
order, and a Problem for every row that cannot be read. It checks the form of a row, not its sense: paths, times,
splits, languages and duplicates are checked in one place for all formats (lib/corpus/checks.py). It keeps no
more than one video in memory, and it raises UserError when the file as a whole is not in its format.
"""

from workflow_scripts.lib.corpus.adapters.csv_rows import read_csv
from workflow_scripts.lib.corpus.adapters.json_lines import read_jsonl
from workflow_scripts.lib.corpus.annotations import Adapter

ADAPTERS: dict[str, Adapter] = {
    "demo": read_jsonl,  # the synthetic corpus is annotated in the format that users write
    "csv": read_csv,
    "jsonl": read_jsonl,
}
