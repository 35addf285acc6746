import pytest

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.launching import launcher


@pytest.mark.parametrize(
    ("gpu", "words"),
    [(0, "python"), (1, "python"), (2, "torchrun --standalone --nproc-per-node=2")],
)
def test_on_one_machine(gpu, words):
    assert launcher(gpu, 1, 8) == words


@pytest.mark.parametrize(("gpu", "each", "started"), [(8, 4, 4), (2, 1, 1), (0, 0, 1)])
def test_over_nodes_torchrun_is_started_once_on_each(gpu, each, started):
    slurm, torchrun = launcher(gpu, 2, 16).split(" torchrun ")
    assert slurm.split() == [
        "srun", "--overlap", "--kill-on-bad-exit=1", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1",
        "--cpus-per-task=16", f"--gpus-per-node={each}",
    ]  # fmt: skip
    assert torchrun.split()[:2] == ["--nnodes=2", f"--nproc-per-node={started}"]


@pytest.mark.parametrize(("gpu", "nodes"), [(5, 2), (1, 2), (4, 0)])
def test_nodes_that_would_not_have_equally_many(gpu, nodes):
    with pytest.raises(UserError, match=f"gpu={gpu} and nodes={nodes} do not fit; .* multiple of `nodes`"):
        launcher(gpu, nodes, 1)
