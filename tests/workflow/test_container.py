"""What is asked of Apptainer. A stand-in writes it down and runs the command without a container."""

import os

import yaml

from tests.workflow.planning import ROOT, Scratch, demo_config

STAND_IN = """#!/usr/bin/env bash
[ "$1" = --version ] && exec echo apptainer version 1.4.0
echo "$@" >>asked.txt
while [ $# -gt 0 ] && [ "$1" != "IMAGE" ]; do shift; done
shift
exec "$@"
"""


def test_commands_run_in_the_image(tmp_path, monkeypatch):
    image = ROOT / "envs/vidloom.sif"
    program = tmp_path / "bin/apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN.replace("IMAGE", str(image)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    scratch = Scratch(tmp_path, demo_config())
    made = "results/demo/config/retrieval.yaml"
    arguments = (
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--configfile",
        "config.yaml",
        "--until",
        "freeze_config",
    )
    scratch.snakemake(
        *arguments, "--software-deployment-method", "apptainer", "--apptainer-args", "--nv --bind /data"
    )
    assert yaml.safe_load((tmp_path / made).read_text(encoding="utf-8"))["epochs"]
    asked = (tmp_path / "asked.txt").read_text(encoding="utf-8")
    assert f">{made}" in asked
    commands = [line for line in asked.splitlines() if line.startswith("exec ")]
    assert commands and all(
        " --nv --bind /data " in line and f" {image} bash -c " in line for line in commands
    )
