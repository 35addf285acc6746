"""How a command is started that one process does, or as many as it is given GPUs."""

from workflow_scripts.lib.errors import UserError

FIRST_HOST = "$(hostname)"
"""A job's own shell runs on the first of its nodes; Snakemake's plugin takes the list of them out of its environment."""
PORT = "$((20000 + SLURM_JOB_ID % 20000))"


def launcher(gpu: int, nodes: int, threads: int, most_nodes: int | None = None) -> str:
    """The words before `-m MODULE`: `python`, `torchrun ...` for several GPUs, `srun ... torchrun ...` for several nodes.

    `gpu` are those of all nodes together, as in SLURM's `--gpus`; without any, there is a process a node. Over nodes,
    torchrun is started once on each of them, inside the job's own step (`--overlap`), and its processes meet at the job's
    first host: what begins with `$` is for the job's shell to fill in. UserError where the nodes would not have equally
    many GPUs, or there are more than `most_nodes`.
    """
    if most_nodes and nodes > most_nodes:
        raise UserError(
            f"set-resources: nodes={nodes}, but the processes of this rule have to be on one machine; let jobs run side by"
            " side instead: a shard each"
        )
    if nodes < 1 or gpu % nodes:
        raise UserError(
            f"set-resources: gpu={gpu} and nodes={nodes} do not fit; `gpu` is the number of all nodes together, so give a"
            " multiple of `nodes`, which is 1 or more"
        )
    if nodes == 1:
        return f"torchrun --standalone --nproc-per-node={gpu}" if gpu > 1 else "python"
    each = gpu // nodes
    return (
        f"srun --overlap --kill-on-bad-exit=1 --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1"
        f" --cpus-per-task={threads} --gpus-per-node={each}"
        f" torchrun --nnodes={nodes} --nproc-per-node={max(1, each)} --rdzv-backend=c10d"
        f" --rdzv-id=$SLURM_JOB_ID --rdzv-endpoint={FIRST_HOST}:{PORT}"
    )
