"""Dry runs and mock runs of the real Snakefile in a scratch folder."""

import json
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


class LoadedSnakemake:
    """A process that has loaded Snakemake, and forks for each call: loading takes longer than most plans."""

    def __init__(self) -> None:
        self._process: subprocess.Popen | None = None

    def __call__(self, arguments: list[str], folder: Path, environment: dict[str, str], printed: Path) -> int:
        """Call it as from a terminal in that folder; what it prints goes to a file. Returns its exit code."""
        if self._process is None:
            command = [sys.executable, "-c", "import tests.workflow.planning as planning; planning.serve()"]
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        request = [arguments, str(folder), environment, str(printed)]
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def serve() -> None:
    """Answer the calls of LoadedSnakemake until nobody is there to call."""
    from snakemake.cli import main

    import workflow_scripts.lib.config  # noqa: F401 - what every plan loads

    for line in sys.stdin:
        arguments, folder, environment, printed = json.loads(line)
        child = os.fork()
        if child:
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
            continue
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment)
        with Path(printed).open("w") as output, Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        sys.argv = ["snakemake", *arguments]
        main(arguments)
        return


SNAKEMAKE = LoadedSnakemake()


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
        command = ["--workflow-profile", ROOT / "profiles/default", *arguments, "--cores", "2", "all"]
        output = self.folder / "printed.txt"
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        code = SNAKEMAKE([*map(str, command)], self.folder, environment, output)
        printed = output.read_text(encoding="utf-8")
        assert not check or code == 0, printed
        return printed

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


def until(condition, seconds: float = 300) -> None:
    """Wait for it; AssertionError when it takes longer."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)
