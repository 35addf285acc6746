"""docs/openclip_guide.md: its table is complete, its tests are there, and its examples are valid."""

import re
import subprocess
import sys
from functools import cache

import pytest
import yaml

from tests.workflow.planning import ROOT
from workflow_scripts.lib.clip.options import EXTRA, NO_USE, SET_BY_US, package_parser
from workflow_scripts.lib.config import Config, FeaturesConfig
from workflow_scripts.lib.config_clip import (
    Augmentation,
    ClipConfig,
    PairFiles,
    PairsConfig,
    ZeroShotConfig,
)

GUIDE = (ROOT / "docs/openclip_guide.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+) \| `([\w.]+)` \| `(\w+)::(\w+)` \|$", GUIDE, re.MULTILINE)
NESTED = {"data": PairsConfig, "data.train": PairFiles, "aug_cfg": Augmentation, "zeroshot": ZeroShotConfig}
BLOCKS = [
    document
    for block in re.findall(r"^```yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    for document in yaml.safe_load_all(block)
]


@cache
def source_of(stem: str) -> str:
    [file] = (ROOT / "tests").rglob(f"{stem}.py")
    return file.read_text(encoding="utf-8")


def test_every_key_is_in_the_table_once():
    keys = {key for key in ClipConfig.model_fields if key not in NESTED}
    keys |= {f"{place}.{key}" for place, section in NESTED.items() for key in section.model_fields}
    found = [key for _, key, _, _ in ROWS]
    assert sorted(found) == sorted(keys)


@pytest.mark.parametrize(("stem", "name"), sorted({row[2:] for row in ROWS}))
def test_every_test_of_the_table_is_there(stem, name):
    assert re.search(rf"^def {name}\(", source_of(stem), re.MULTILINE)


def test_every_option_of_the_package_is_in_a_table():
    named = set(re.findall(r"`--([a-z0-9-]+)", " ".join(row[0] for row in ROWS)))
    with_reason = dict(
        re.findall(r"^\| `--([\w-]+)` \| (?:set by us|refused|`extra_args`): (.+) \|$", GUIDE, re.MULTILINE)
    )
    options = {action.dest.replace("_", "-") for action in package_parser()._actions} - {"help"}
    assert named | with_reason.keys() == options
    assert with_reason == {name.replace("_", "-"): why for name, why in (SET_BY_US | NO_USE | EXTRA).items()}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: ",".join(block))
def test_every_example_is_valid(block):
    if "run" in block:
        assert Config.model_validate(block)
    elif "clip" in block:
        assert ClipConfig.model_validate(block["clip"])
    else:
        assert FeaturesConfig.model_validate(block["features"])


@pytest.mark.slow
def test_the_first_run_needs_no_videos(tmp_path):
    """Of the pairs' own files, only the commands that train and evaluate are planned."""
    [config] = [block for block in BLOCKS if "run" in block]
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.csv").write_text("filepath,title\n", encoding="utf-8")
    (tmp_path / "my_clip.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    [command] = re.findall(r"^snakemake (.+ --dry-run .+)$", GUIDE, re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", *command.split()],
        cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    jobs = set(re.findall(r"^(\w+) +\d+$", done.stdout + done.stderr, re.MULTILINE))
    assert jobs == {"freeze_config", "train_clip", "evaluate_clip", "total"}


def test_every_page_and_file_that_it_names_is_there():
    for page in re.findall(r"\]\((\w+\.md)", GUIDE):
        assert (ROOT / "docs" / page).is_file()
    for file in re.findall(r"`(examples/[\w.]+)`", GUIDE):
        assert (ROOT / file).is_file()
    for module in re.findall(r"python -m ([\w.]+)", GUIDE):
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file()
