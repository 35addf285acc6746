"""What a user sees before anything runs."""

import shutil
import subprocess
import sys

import pytest
import yaml

from tests.workflow.planning import ROOT, Scratch, demo_config

# Commands that people give by hand, beside the rules'; import_features is the rule of corpora without videos.
BY_HAND = {
    "caption_video", "config_docs", "convert_checkpoint", "export_clip", "export_features", "import_features",
    "merge_adapter", "plan", "retry_failed", "search", "status", "verify_features",
}  # fmt: skip


def test_a_dry_run_on_a_fresh_checkout_shows_every_job(tmp_path):
    config = demo_config()
    jobs = Scratch(tmp_path, config).planned()
    shards = config["corpus"]["shards"]
    assert jobs["corpus_shard"] == 2 * shards  # videos and captions
    assert jobs["collect_features"] == 2  # sides
    for rule in (
        "extract_frames",
        "pack_pairs",
        "extract_video_features",
        "extract_text_features",
    ):
        assert jobs[rule] == shards
    commands = {path.stem for path in (ROOT / "workflow_scripts").glob("*.py")} - {"__init__"} - BY_HAND
    assert commands == {rule for rule in jobs if not rule.startswith("freeze_")}, (
        "every command is a rule of the demo"
    )


def test_a_config_error_stops_before_any_job(tmp_path):
    config = demo_config()
    config["retrieval"]["epoch"] = 5
    output = Scratch(tmp_path, config).snakemake("--dry-run", check=False)
    assert "retrieval.epoch: unknown key" in output and "epochs" in output
    assert "Traceback" not in output and "Job stats" not in output


def test_a_missing_annotation_file_stops_with_its_name(tmp_path):
    config = demo_config()
    config["corpus"] |= {"adapter": "csv", "annotations": "없는 파일.csv"}
    output = Scratch(tmp_path, config).snakemake("--dry-run", check=False)
    assert "없는 파일.csv" in output and "Traceback" not in output


def test_own_config_is_not_merged_with_the_demo(tmp_path):
    """What the demo sets and an own file leaves out has its default, not the demo's value."""
    config = demo_config()
    del config["captioner"], config["report"]
    scratch = Scratch(tmp_path, demo_config())
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    output = scratch.snakemake("--dry-run", "--configfile", "own.yaml")
    assert "train_retrieval" in output and "train_captioner" not in output


def test_more_gpus_do_not_invalidate_a_model(tmp_path):
    scratch = Scratch(tmp_path, demo_config())
    scratch.pretend_run()
    output = scratch.snakemake("--dry-run", "--set-resources", "train_clip:gpu=4")
    assert "Nothing to be done" in output


def test_a_plan_is_shown_by_the_report_alone(tmp_path):
    scratch = Scratch(tmp_path, demo_config())
    scratch.pretend_run()
    (tmp_path / "results/demo/plan.json").write_text("{}")
    assert scratch.planned() == {"build_report": 1}


def test_the_checkout_may_lie_anywhere(tmp_path):
    checkout = tmp_path / "내 작업"
    for name in ("rules", "workflow_scripts", "profiles", "envs"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Snakefile", checkout)
    scratch = Scratch(tmp_path, demo_config())
    arguments = ("--snakefile", str(checkout / "Snakefile"), "--configfile", "config.yaml")
    assert "train_retrieval" in scratch.snakemake("--dry-run", *arguments)


@pytest.mark.slow
def test_snakemake_finds_nothing_to_complain_about():
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
