"""What the profiles ask for, by dry runs under them."""

import re

import pytest

from tests.workflow.planning import ROOT, Scratch, demo_config

# The steps that compute with torch on a model: on a cluster, each of them gets GPUs.
GPU_RULES = {
    "train_clip", "evaluate_clip", "extract_video_features", "extract_text_features", "train_retrieval",
    "evaluate_retrieval", "build_index", "train_captioner_stage1", "train_captioner_stage2", "generate_captions",
    "evaluate_captions",
}  # fmt: skip
LOCAL_RULES = {"freeze_config", "freeze_encoder", "freeze_side", "all"}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return Scratch(tmp_path_factory.mktemp("profiles"), demo_config())


def resources(output):
    """What every rule's first printed job asks for."""
    found = {}
    for name, block in re.findall(r"^ *(?:local)?rule (\w+):\n((?:    .*\n)+)", output, re.MULTILINE):
        pairs = dict(re.findall(r"(\w+)=([^,\n]+)", block.split("resources: ")[1].split("\n")[0]))
        pairs["threads"] = (re.findall(r"threads: (\d+)", block) or ["1"])[0]
        found.setdefault(name, pairs)
    return found


def test_slurm(scratch):
    rules = resources(scratch.snakemake("--dry-run", "--profile", ROOT / "profiles/slurm"))
    sent = {name: asked for name, asked in rules.items() if name not in LOCAL_RULES}
    assert sent.keys() >= GPU_RULES
    assert {name for name, asked in sent.items() if int(asked.get("gpu", 0)) > 0} == GPU_RULES
    assert {name for name, asked in sent.items() if asked["slurm_partition"] == "gpu"} == GPU_RULES
    # below 1, or a job's command starts as often as it has GPUs
    assert {asked["tasks_per_gpu"] for asked in sent.values()} == {"0"}
    assert {asked["slurm_account"] for asked in sent.values()} == {"your_account"}
    frames = sent["extract_frames"]
    assert int(frames["mem_mb"]) >= 1500 * int(frames["threads"]) > 1500


def test_every_rule_of_slurm_grows_with_its_attempts(scratch):
    more = scratch.snakemake("--dry-run", "--profile", ROOT / "profiles/slurm", "--attempt", "2")
    first = resources(scratch.snakemake("--dry-run", "--profile", ROOT / "profiles/slurm"))
    for name, asked in resources(more).items():
        assert int(asked["mem_mb"]) == 2 * int(first[name]["mem_mb"]), name
        assert int(asked["runtime"]) == min(2880, 2 * int(first[name]["runtime"])), name


def test_one_machine(scratch):
    """Steps hold all GPUs of the machine, of which there are none here."""
    output = scratch.snakemake("--dry-run", "--profile", ROOT / "profiles/gpu")
    assert {name for name, asked in resources(output).items() if "gpu" in asked} == GPU_RULES


def test_ray(scratch):
    output = scratch.snakemake("--dry-run", "--profile", ROOT / "profiles/ray")
    assert "--executor ray --ray-address auto" in output
    assert resources(output)["extract_frames"]["threads"] == "1"
