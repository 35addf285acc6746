"""The benchmark of training runs, and both contestants train as much."""

import json
import sys

import pytest

from benchmarks import clip


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
    out = tmp_path / "clip.json"
    monkeypatch.setattr(
        sys, "argv", ["clip", "--quick", "--out", str(out), "--cache", str(tmp_path / "cache")]
    )
    clip.main()
    result = json.loads(out.read_text())
    assert [len(costs) for costs in result["contestants"].values()] == [1, 1]
    assert result["verdict"][0]["measured"] == result["ratios"][0] > 0
    assert result["setting"]["steps"] == 4


def test_both_are_given_the_same(tmp_path):
    from workflow_scripts.lib.clip.models import find_model
    from workflow_scripts.lib.clip.options import check_command
    from workflow_scripts.lib.clip.pair_files import find_pairs
    from workflow_scripts.lib.clip.train import training_arguments
    from workflow_scripts.lib.config import ClipConfig, load_section

    setting = clip.QUICK
    data = clip.prepare(tmp_path, setting)
    clip.ours(data, tmp_path, setting)
    config = load_section(ClipConfig, tmp_path / "clip.yaml").model_copy(update={"workers": 0})
    train, val = (find_pairs(config.data, None, 1, split, tmp_path / "index") for split in ("train", "val"))
    ours = vars(check_command(training_arguments(
        config, find_model(config, None), train, val, logs=tmp_path / "logs", name="by_hand", seed=clip.SEED, ranks=1,
        device="cpu",
    )))  # fmt: skip
    other = vars(check_command(clip.by_hand(data, tmp_path, setting)[3:]))
    different = {name for name in ours if ours[name] != other[name]}
    # ours has expanded the one, and nothing is copied anywhere
    assert different == {"train_data", "remote_sync_protocol"}
    assert ours["train_data"].count("::") == clip.TARS - 1


def test_costs_over_the_target_fail():
    from benchmarks.verdict import at_most

    assert not at_most("", clip.MOST, 1.021, "")["passed"] and at_most("", clip.MOST, 1.019, "")["passed"]
