"""What the profiles ask for, by dry runs under them."""

import glob
import re

import pytest
import yte

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


def test_steps_of_a_group_fit_into_the_longest_job(tmp_path):
    """One after the other, as many as the group has."""
    text = (ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8")
    given = ("longest: 2880 ", "longest: 240 "), ("largest: 250000 ", "largest: 100000 ")
    for written, instead in given:
        assert text.count(written) == 1
        text = text.replace(written, instead)
    profile = yte.process_yaml(text, require_use_yte=True)
    sizes = {"report": 2} | profile["group-components"]
    for attempt in (1, 4):
        for rule, asked in profile["set-resources"].items():
            most, memory = (
                eval(asked[key], {"attempt": attempt, "threads": 32}) for key in ("runtime", "mem_mb")
            )
            assert 0 < most * sizes.get(profile["groups"].get(rule), 1) <= 240 and memory <= 100000
            assert (rule in profile["groups"]) == ("turn" in asked)


def test_several_nodes(tmp_path):
    text = (ROOT / "profiles/slurm/config.yaml").read_text(encoding="utf-8")
    text = text.replace("train_clip: ?job(gpu=1,", "train_clip: ?job(gpu=16, nodes=4,")
    asked = yte.process_yaml(text, require_use_yte=True)["set-resources"]["train_clip"]
    assert (asked["gpu"], asked["nodes"], asked["tasks"], asked["mpi"]) == (16, 4, 4, "'srun'")
    assert asked["slurm_extra"] == "'--gpus-per-node=4'"


def test_one_machine(scratch, monkeypatch):
    """Steps hold all GPUs that CUDA may use."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2,5")
    output = scratch.snakemake("--dry-run", "--profile", ROOT / "profiles/gpu")
    assert {name for name, asked in resources(output).items() if asked.get("gpu") == "3"} == GPU_RULES


@pytest.mark.parametrize(
    ("chosen", "gpus"), [(None, 8), ("", 0), ("-1", 0), ("3", 1), ("GPU-8932f937,GPU-5f1e", 2)]
)
def test_gpus_are_those_that_are_there_or_are_chosen(monkeypatch, chosen, gpus):
    monkeypatch.setattr(glob, "glob", lambda pattern: [pattern] * 8)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    text = (ROOT / "profiles/gpu/config.yaml").read_text(encoding="utf-8")
    assert yte.process_yaml(text, require_use_yte=True)["resources"]["gpu"] == gpus


def test_ray(scratch):
    output = scratch.snakemake("--dry-run", "--profile", ROOT / "profiles/ray")
    assert "--executor ray --ray-address auto" in output
    assert resources(output)["extract_frames"]["threads"] == "1"
