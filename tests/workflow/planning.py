"""Dry runs and mock runs of the real Snakefile in a scratch folder."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]

# The real rules, but every command just makes its outputs: what is tested is what runs, and when.
MOCK = """
from pathlib import Path

include: "{root}/Snakefile"

def make_outputs(input, output, params, *rest, **more):
    for path in map(Path, output):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir()
    if "digest" in output.keys():
        Path(output.digest).write_text(params.digest)

for each in workflow.rules:
    if each.shellcmd and not each.name.startswith("freeze_"):
        each.run_func, each._benchmark = make_outputs, None
"""


def demo_config() -> dict:
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


class Scratch:
    """A folder with a configuration, in which Snakemake plans or pretends to run the workflow."""

    def __init__(self, folder: Path, config: dict):
        self.folder = folder
        self.configure(config)
        (folder / "Snakefile").write_text(MOCK.format(root=ROOT), encoding="utf-8")

    def configure(self, config: dict, comment: str = "") -> None:
        text = f"# {comment}\n" + yaml.safe_dump(config, allow_unicode=True)
        (self.folder / "config.yaml").write_text(text, encoding="utf-8")

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        command = [
            sys.executable,
            "-m",
            "snakemake",
            "--workflow-profile",
            ROOT / "profiles/default",
            *arguments,
        ]
        done = subprocess.run(
            [*map(str, command), "--cores", "2", "all"],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        output = done.stdout + done.stderr
        assert not check or done.returncode == 0, output
        return output

    def pretend_run(self) -> None:
        self.snakemake("--quiet", "all")

    def planned(self) -> dict[str, int]:
        """Jobs that a run would start now, by rule."""
        output = self.snakemake("--dry-run")
        if "Nothing to be done" in output:
            return {}
        table = output.split("Job stats:")[1].split("total")[0]
        jobs = {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)}
        return {name: count for name, count in jobs.items() if name != "all"}


def start(scratch: Scratch, *arguments: str) -> subprocess.Popen:
    """Start snakemake and do not wait for it."""
    profile = str(ROOT / "profiles/default")
    return subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--workflow-profile", profile, "--cores", "1", *arguments],
        cwd=scratch.folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def until(condition, seconds: float = 30) -> None:
    """Wait for it; AssertionError when it takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
