"""Killed runs: what is left behind, and what a plain rerun makes of it."""

import signal
import time
from pathlib import Path

import pytest

from tests.workflow.planning import ROOT, Scratch, demo_config, start, until

SLOW_STEP = """
rule slow:
    output:
        "slow.txt",
    shell:
        "python -c 'from workflow_scripts.lib.command import run_command; import time, os, pathlib;"
        ' pathlib.Path("pid").write_text(str(os.getpid())); run_command(lambda: time.sleep(900))\\''
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_a_killed_snakemake_leaves_no_step_and_no_lock(tmp_path):
    scratch = Scratch(tmp_path, demo_config())
    snakefile = tmp_path / "Snakefile"
    snakefile.write_text(f'include: "{ROOT}/Snakefile"\n{SLOW_STEP}', encoding="utf-8")
    run = start(scratch, "slow.txt")
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    step = int((tmp_path / "pid").read_text())

    second = start(scratch, "slow.txt")
    said, _ = second.communicate(timeout=300)
    assert second.returncode != 0 and "another snakemake is running" in said

    time.sleep(1)
    run.send_signal(signal.SIGKILL)
    run.wait()
    until(lambda: not is_running(step))

    snakefile.write_text(snakefile.read_text().replace("time.sleep(900)", "time.sleep(0)").replace(
        "run_command(", 'pathlib.Path("slow.txt").touch(); run_command('), encoding="utf-8")  # fmt: skip
    again = start(scratch, "slow.txt")
    said, _ = again.communicate(timeout=300)
    assert again.returncode == 0, said
