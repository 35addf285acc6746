"""How a training is started: by Python, by torchrun on a machine, by srun and torchrun over several."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.workflow.planning import Scratch, demo_config

RULES = (
    "train_clip",
    "train_retrieval",
    "train_captioner_stage1",
    "train_captioner_stage2",
)
ON_ONE_NODE = "extract_video_features"
PROGRAMS = {
    "hostname": "echo the-first\n",
    # what a SLURM of one machine would do: the program once for each node, and the worst of their exit codes
    "srun": """nodes=1
while [ "${1#--}" != "$1" ]; do case $1 in --nodes=*) nodes=${1#--nodes=};; esac; shift; done
started=""
for node in $(seq $nodes); do "$@" & started="$started $!"; done
code=0
for process in $started; do wait $process || code=$?; done
exit $code
""",
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    for name, text in PROGRAMS.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    """The launcher that every rule's command begins with, by the numbers of its GPUs and nodes."""
    scratch = Scratch(tmp_path_factory.mktemp("launch"), demo_config())

    def planned(gpu, nodes):
        resources = [f"{rule}:{name}={n}" for rule in RULES for name, n in (("gpu", gpu), ("nodes", nodes))]
        lines = scratch.snakemake("--dry-run", "--set-resources", *resources).splitlines()
        found = {}
        for rule in RULES:
            module = f" -m workflow_scripts.{rule} "
            command = next(line for line in lines if module in line).removeprefix("Shell command: ")
            found[rule] = command.split(module)[0]
        return found

    return planned


TORCHRUN = "torchrun --standalone --nproc-per-node=4"


@pytest.mark.parametrize(("gpu", "expected"), [(0, "python"), (1, "python"), (4, TORCHRUN)])
def test_on_one_machine(commands, gpu, expected):
    assert commands(gpu, 1) == dict.fromkeys(RULES, expected)


def test_one_file_is_written_on_one_node(tmp_path):
    scratch = Scratch(tmp_path, demo_config())
    line = f"{TORCHRUN} -m workflow_scripts.{ON_ONE_NODE} "
    assert line in scratch.snakemake("--dry-run", "--set-resources", f"{ON_ONE_NODE}:gpu=4")
    resources = [f"{ON_ONE_NODE}:gpu=4", f"{ON_ONE_NODE}:nodes=2"]
    said = scratch.snakemake("--dry-run", "--set-resources", *resources, check=False)
    assert "nodes=2, but the processes of this rule have to be on one machine" in said


def test_over_nodes_the_shell_fills_in_what_the_job_is(commands, programs):
    job = {"SLURM_JOB_ID": "123456"}  # all that Snakemake's plugin leaves of what SLURM sets
    for rule, launcher in commands(8, 2).items():
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"echo {launcher}"], capture_output=True, text=True, check=True,
            env={"PATH": f"{programs}:{os.environ['PATH']}", **job},
        )  # fmt: skip
        slurm, torchrun = done.stdout.split(" torchrun ")
        assert slurm.startswith("srun --overlap ") and "--gpus-per-node=4" in slurm.split(), rule
        assert torchrun.split() == [
            "--nnodes=2", "--nproc-per-node=4", "--rdzv-backend=c10d", "--rdzv-id=123456",
            "--rdzv-endpoint=the-first:23456",
        ]  # fmt: skip


def test_gpus_that_cannot_be_shared_equally_are_told_before_any_job(tmp_path):
    scratch = Scratch(tmp_path, demo_config())
    resources = ["train_clip:gpu=5", "train_clip:nodes=2"]
    said = scratch.snakemake("--set-resources", *resources, check=False)
    assert "gpu=5 and nodes=2 do not fit" in said and "rule train_clip" in said
    assert not (tmp_path / "resources").exists()


@pytest.mark.slow
def test_processes_of_two_nodes_find_each_other(commands, programs, tmp_path):
    """Two torchruns that share nothing but the command line, as they would on two machines."""
    (programs / "hostname").write_text("#!/bin/sh\necho localhost\n")
    launcher = commands(0, 2)["train_clip"]
    script = tmp_path / "sum.py"
    script.write_text(
        "import os, torch, torch.distributed as d\n"
        "d.init_process_group('gloo')\n"
        "one = torch.ones(1)\n"
        "d.all_reduce(one)\n"
        "open(f'{os.environ[\"RANK\"]}-{os.environ[\"LOCAL_RANK\"]}.txt', 'w').write(str(int(one)))\n"
        "d.destroy_process_group()\n"
    )
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    job = {"SLURM_JOB_ID": str(os.getpid())}
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f"{launcher} {script}"], check=True, cwd=tmp_path, timeout=600,
        env=os.environ | job | {"PATH": path},
    )  # fmt: skip
    assert {file.name: file.read_text() for file in tmp_path.glob("*.txt")} == {
        "0-0.txt": "2",
        "1-0.txt": "2",
    }
