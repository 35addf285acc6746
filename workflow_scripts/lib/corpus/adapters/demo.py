"""The `demo` format: the synthetic corpus is annotated in the format that users write."""

from workflow_scripts.lib.corpus.adapters.json_lines import read_jsonl
from workflow_scripts.lib.corpus.annotations import Adapter

ADAPTER = Adapter("demo", read_jsonl)
