"""docs/config.md, docs/config.schema.json and docs/annotations.md, generated from the config models and adapters."""

from __future__ import annotations

import json
import sys
from typing import Any

from workflow_scripts.lib.config import Config
from workflow_scripts.lib.corpus.adapters import ADAPTERS
from workflow_scripts.lib.corpus.annotations import PROBLEMS

HEADER = """# Configuration

Every key of the configuration, generated from the models in `workflow_scripts/lib/config.py` by `make docs`.
`config.yaml` is the demo with comments; `examples/` holds complete files for real work. Unknown keys, wrong types and
impossible combinations stop before any job, with the key's name. For completion and checks in an editor, begin a
configuration with

```yaml
# yaml-language-server: $schema=docs/config.schema.json
```

Numbers may be written as `1e-4`. Nothing here is about a machine: cores, GPUs, memory, time and partitions are in
`profiles/`. Batch sizes are global, over all GPUs.
"""

ANNOTATIONS_HEADER = """# Annotations

The formats that `corpus.adapter` names, generated from their modules in `workflow_scripts/lib/corpus/adapters/` by
`make docs`. Whatever the format, the rows end as the same two tables ([formats.md](formats.md)), checked in the same way.

`corpus.annotations` is the file (or the folder, where a format is one); a list of files, read in this order; or one
file a split, as in `{train: train.json, val: val_1.json}`. Paths of videos are relative to `corpus.root`, by default the
folder of the first annotation file, and may not lead out of it. A path that ends in `.*` is the file of that name with
whatever ending it has. File names may be in any script, composed or decomposed (as macOS writes them).

Videos without an annotated split get one by a hash of the id of their source video: videos that are added change
nothing for the others, and clips of one source stay together.

**A format of your own** is one module in that folder and one test: a function of the file's path and the options that
yields an `AnnotatedVideo` for every video and a `Problem` for every row that cannot be read, and
`ADAPTER = Adapter("name", function, Options)`. Its docstring becomes its section here.
"""

PROBLEMS_HEADER = """`ingest_corpus` checks every row. With `corpus.on_problem: fail` it stops and names the first
ten, each as `file:line: what was found; what to do`; with `quarantine` they are left out, counted in the report and
listed in `resources/<corpus>/ingest/problems.jsonl` (`file`, `line`, `kind`, `what`). Two are special: a video of a
`missing_file` stays in the table, since indices must not depend on what is on the disk (`extract_frames` lists it again,
and `retry_failed` tries it later); and a `split_leak` always stops, since results on it would be wrong.
"""


def annotations_markdown() -> str:
    """A section for every adapter, from its module's docstring and its options, and the kinds of problems."""
    parts = [ANNOTATIONS_HEADER]
    for name, adapter in sorted(ADAPTERS.items()):
        if name == "demo":  # makes its own annotations
            continue
        parts += [f"## `{name}`\n", (sys.modules[adapter.read.__module__].__doc__ or "").strip() + "\n"]
        if (schema := adapter.options.model_json_schema()).get("properties"):
            parts += ["`corpus.options`:\n", _table(schema, schema.get("$defs", {}))]
    parts += ["## Problems\n", PROBLEMS_HEADER, "| kind | what to do |", "|---|---|"]
    parts += [f"| `{kind}` | {remedy} |" for kind, remedy in PROBLEMS.items()]
    return "\n".join(parts) + "\n"


def json_schema() -> str:
    """The schema that editors read, as JSON text."""
    return json.dumps(Config.model_json_schema(), ensure_ascii=False, indent=2) + "\n"


def markdown() -> str:
    """A table of keys for the whole file and for every section."""
    schema = Config.model_json_schema()
    definitions = schema["$defs"]
    parts = [HEADER, "## The whole file\n", _table(schema, definitions)]
    seen: set[str] = set()
    for key, field in schema["properties"].items():
        for section in _sections(field):
            parts += _document(key, section, definitions, seen)
    return "\n".join(parts)


def _document(path: str, name: str, definitions: dict, seen: set[str]) -> list[str]:
    """The section of that name and those inside it; one that occurs twice is described once."""
    if name in seen:
        return []
    seen.add(name)
    definition = definitions[name]
    kind = definition["properties"].get("kind", {}).get("const")  # of a section that is an option of a union
    title = f"## `{path}`{f' of kind `{kind}`' if kind else ''}\n"
    description = " ".join(definition.get("description", "").split())
    parts = [title, description + "\n", _table(definition, definitions)]
    for key, field in definition["properties"].items():
        for nested in _sections(field):
            parts += _document(f"{path}.{key}", nested, definitions, seen)
    return parts


def _table(definition: dict, definitions: dict) -> str:
    rows = ["| key | value | default | |", "|---|---|---|---|"]
    required = definition.get("required", [])
    for key, field in definition["properties"].items():
        default = "needed" if key in required else _default(field.get("default"))
        description = " ".join(field.get("description", "").split()) or _about(field, definitions)
        cells = [f"`{key}`", _kind(field), default, description]
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows) + "\n"


def _sections(field: dict) -> list[str]:
    """Names of the sections that a field holds one of (or a list of, or nothing instead of), if any."""
    if "$ref" in field:
        return [field["$ref"].rsplit("/", 1)[1]]
    items = [field["items"]] if "items" in field else []
    inner = [*items, *field.get("anyOf", []), *field.get("oneOf", [])]
    return [name for option in inner for name in _sections(option)]


def _about(field: dict, definitions: dict) -> str:
    sections = _sections(field)
    return definitions[sections[0]].get("description", "") if sections else ""


def _default(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict) and value.get("enabled") is False:
        return "off"
    if isinstance(value, dict):
        return "the section's own" if value else "{}"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _kind(field: dict) -> str:
    if options := field.get("anyOf"):
        return " or ".join(_kind(option) for option in options if option.get("type") != "null")
    if "$ref" in field or "oneOf" in field:
        return "section"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "any")
    if kind == "array":
        length = field.get("minItems") if field.get("minItems") == field.get("maxItems") else None
        return f"list of {f'{length} × ' if length else ''}{_kind(field.get('items', {}))}"
    if kind == "object":
        return "mapping"
    name = {"string": "text", "integer": "whole number", "number": "number", "boolean": "yes or no"}.get(
        kind, kind
    )
    if field.get("format") == "path":
        name = "path"
    return name + _bounds(field)


def _bounds(field: dict) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    if "multipleOf" in field:
        limits.append(f"a multiple of {field['multipleOf']}")
    return f" {' and '.join(limits)}" if limits else ""
