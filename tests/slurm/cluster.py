"""A real SLURM on this machine: munge, a controller and four nodes, each of which thinks that it is a machine.

A node is a slurmd in namespaces of its own: it has a host name, and its processes are numbered from 1, so that nothing
works by way of a process number or an address of another node. All share the file system. Whatever ends this process,
kill -9 too, the kernel ends the daemons, and with a node all that runs on it. Needs root, and Debian's packages
`slurm-wlm` and `munge`. What a node says of its cores, memory and GPUs is made up: they are counted, and not there.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "unshare", "setpriv")
NODES = ("n1", "n2", "g1", "g2")
GPUS = 4

SLURM_CONF = """
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[ctld]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
MpiDefault=none
ReturnToService=2
MessageTimeout=60
TCPTimeout=30
BatchStartTimeout=120
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/jobcomp.log
MinJobAge=3600
KillWait=5
{nodes}
PartitionName=cpu Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=g[1-2] MaxTime=INFINITE State=UP
"""
GRES_CONF = """
AutoDetect=off
NodeName=g[1-2] Name=gpu Type=fake File={folder}/gpu[0-{last}] Flags=nvidia_gpu_env
"""
# Steps find the configuration where Debian's programs look for it, since Snakemake's plugin takes SLURM_CONF from them.
IN_NODE = """
mount --bind "$1/hosts" /etc/hosts && mount --bind "$1" /etc/slurm && hostname "$2" && exec slurmd -D -N "$2"
"""


class Cluster:
    """Where it lies, and what its users see of it: `environment` is for every process that is to find it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}

    def run(self, *command: str) -> str:
        """What one of SLURM's commands prints."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True, timeout=120
        ).stdout

    def is_idle(self) -> bool:
        with contextlib.suppress(subprocess.CalledProcessError, subprocess.TimeoutExpired):
            states = self.run("sinfo", "--noheader", "--Node", "--format=%N %t").split("\n")
            return {line for line in states if line} == {f"{node} idle" for node in NODES}
        return False


def missing() -> list[str]:
    """What this machine lacks to run it, as sentences."""
    found = [
        f"{name}: not found; apt-get install --no-install-recommends slurm-wlm munge"
        for name in PROGRAMS
        if shutil.which(name) is None
    ]
    return found + (["run it as root: SLURM's nodes are namespaces here"] if os.geteuid() != 0 else [])


@contextlib.contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Start it, and end it with all that runs on it; its folder goes with it. RuntimeError when it does not come up."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: that of a socket has 108 bytes at most
    cluster = Cluster(folder)
    daemons: list[subprocess.Popen] = []
    try:
        _configure(folder)
        daemons.append(_daemon(cluster, "munged", "--foreground", "--force", *_munge_files(folder)))
        _until(lambda: (folder / "munge.socket").exists(), daemons, folder)
        daemons.append(_daemon(cluster, "slurmctld", "-D"))
        for node in NODES:
            namespaces = ("--pid", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc")
            daemons.append(
                _daemon(cluster, "unshare", *namespaces, "sh", "-c", IN_NODE, "sh", str(folder), node)
            )
        _until(cluster.is_idle, daemons, folder)
        yield cluster
    finally:
        for daemon in reversed(daemons):
            daemon.kill()  # of `unshare`: all that is in its namespaces
            daemon.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _configure(folder: Path) -> None:
    folder.chmod(0o755)  # munge wants others to reach its socket
    (folder / "state").mkdir()
    (folder / "munge.key").write_bytes(os.urandom(128))
    (folder / "munge.key").chmod(0o600)
    (folder / "hosts").write_text("127.0.0.1 localhost " + " ".join(NODES) + f" {socket.gethostname()}\n")
    for number in range(GPUS):
        os.mknod(folder / f"gpu{number}", 0o20666, os.makedev(1, 3))  # as /dev/null
    ports = _free_ports("ctld", *NODES)
    nodes = [
        f"NodeName={node} NodeAddr=127.0.0.1 Port={ports[node]} CPUs=64 RealMemory=1000000 State=UNKNOWN"
        + (f" Gres=gpu:fake:{GPUS}" if node.startswith("g") else "")
        for node in NODES
    ]
    text = SLURM_CONF.format(host=socket.gethostname(), ports=ports, folder=folder, nodes="\n".join(nodes))
    (folder / "slurm.conf").write_text(text)
    (folder / "gres.conf").write_text(GRES_CONF.format(folder=folder, last=GPUS - 1))


def _munge_files(folder: Path) -> list[str]:
    flags = {"socket": "munge.socket", "key-file": "munge.key", "pid-file": "munge.pid", "log-file": "munge.log",
             "seed-file": "munge.seed"}  # fmt: skip
    return [f"--{flag}={folder / name}" for flag, name in flags.items()]


def _daemon(cluster: Cluster, *command: str) -> subprocess.Popen:
    with (cluster.folder / "daemons.log").open("a") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command], env=cluster.environment, stdout=log, stderr=log
        )


def _free_ports(*names: str) -> dict[str, int]:
    with contextlib.ExitStack() as stack:
        sockets = {name: stack.enter_context(socket.socket()) for name in names}
        for each in sockets.values():
            each.bind(("127.0.0.1", 0))
        return {name: each.getsockname()[1] for name, each in sockets.items()}


def _until(condition, daemons: list[subprocess.Popen], folder: Path, seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end or any(daemon.poll() is not None for daemon in daemons):
            logs = [f"{log.name}: {log.read_text(errors='replace')[-2000:]}" for log in folder.glob("*.log")]
            raise RuntimeError("\n".join(["SLURM did not come up", *logs]))
        time.sleep(0.2)
