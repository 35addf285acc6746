"""docs/captioner.md says what the code does."""

import re
from pathlib import Path

from workflow_scripts.lib.captioner.settings import UP_TO_GIB, dropout_guide, rank_guide
from workflow_scripts.lib.config_captioner_presets import PRESETS

GUIDE = (Path(__file__).parents[3] / "docs/captioner.md").read_text(encoding="utf-8")


def _leaves(values, path=""):
    for key, value in values.items():
        name = f"{path}.{key}".strip(".")
        if isinstance(value, dict):
            yield from _leaves(value, name)
        else:
            yield name, " ".join(value) if isinstance(value, list) else str(value)


def test_the_table_of_presets_is_complete_and_right():
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in GUIDE.splitlines()
        if line.startswith("| `")
    ]
    told = {
        (key, preset): value
        for keys, *values in rows
        for key in re.findall(r"`([^`]+)`", keys)
        for preset, value in zip(PRESETS, values, strict=True)
    }
    assert told == {(key, name): value for name, preset in PRESETS.items() for key, value in _leaves(preset)}


def test_the_guides_are_those_of_the_text():
    assert [rank_guide(1, gib) for gib in (16, 24, 40, 80)] == [8, 16, 16, 32]
    assert [rank_guide(samples, 40) for samples in (4_999, 5_000)] == [16, 32]
    assert [rank_guide(samples, 80) for samples in (9_999, 10_000)] == [32, 64]
    assert [dropout_guide(samples) for samples in (4_999, 20_000, 20_001)] == [0.1, 0.05, 0.01]
    assert UP_TO_GIB == {20: "t4", 32: "l4", 60: "a100"}
