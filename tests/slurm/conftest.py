"""One SLURM for all tests, and two runs under it at the same time: the demo's steps, and steps that meet with misfortune."""

import pytest

from tests.slurm import runs
from tests.slurm.cluster import missing, running_cluster

UNLUCKY = """
rule all:
    input: "cancelled.txt", "late.txt", "large.txt"

rule cancelled:
    output: "cancelled.txt"
    shell: "if mkdir cancelled.first; then sleep 1800; fi; touch {output}"

rule late:
    output: "late.txt"
    resources: attempt=lambda wildcards, attempt: attempt
    shell: "if [ {resources.attempt} = 1 ]; then sleep 900; fi; touch {output}"

rule large:
    output: "large.txt"
    shell: "python -c 'import time; held = bytes(1) * 600_000_000; time.sleep(8)' && touch {output}"
"""


@pytest.fixture(scope="session")
def cluster():
    if lacking := missing():
        pytest.fail("\n".join(lacking), pytrace=False)
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def unlucky(cluster, tmp_path_factory):
    """A started run of three steps, each of which fails in a way of its own the first time: folder and process."""
    folder = tmp_path_factory.mktemp("unlucky")
    (folder / "Snakefile").write_text(UNLUCKY)
    row = runs.profile()["set-resources"]["make_demo_clip_model"]  # 2,000 MB and 10 minutes
    table = {
        "cancelled": row,
        "late": row | {"runtime": row["runtime"].replace("10", "2")},
        "large": row | {"mem_mb": row["mem_mb"].replace("2000", "400")},
    }
    with runs.started(cluster, folder, "run.log", *runs.set_resources(table)) as run:
        runs.wait_for((folder / "cancelled.first").exists, run)
        job = runs.running(cluster, folder, "cancelled")
        cluster.run("scancel", job.JobId)
        yield folder, run
