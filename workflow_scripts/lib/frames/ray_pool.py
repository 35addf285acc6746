"""The pool over machines: tasks of a Ray cluster instead of processes of this one.

A Ray task is a `Pool` of one process, kept from task to task: the limits, the second try alone and the replacement of
processes are the pool's own, on whatever machine, and a task's time runs from when it begins and not from when it
queues. Ray finds the machines and tells when one is lost.

Its nodes must see the same files at the same paths: this checkout, which they import by PYTHONPATH (no copy of it is
sent), and the videos. Their Python environment must be this one.
"""

import os
import socket
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError, RuntimeEnvSetupError

from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.frames.pool import Failure, Limits, Pool

QUEUED = 2  # tasks a CPU that are handed to Ray at a time: one runs, one waits, so that no CPU does
CONNECT_S = 10
CHECKOUT = str(Path(__file__).parents[3])

_pools: dict[tuple, Pool] = {}  # of this process, when it is one of Ray's; they end with it


def _decode(function: str, limits: Limits, prepare: tuple, task: tuple) -> list[tuple[Any, Any, float]]:
    pool = _pools.setdefault((function, limits, prepare), Pool(function, 1, limits, prepare))
    return list(pool.run([task]))


class RayPool:
    """What `Pool` does, on the CPUs of the Ray cluster at `address` ("auto": the one that runs on this machine).

    At most `QUEUED` tasks for every CPU that the cluster has at the time are under way. A task whose machine is lost is
    done once more. A context manager; leaving it ends the tasks. UserError when there is no such cluster, or when its
    nodes cannot run a task at all.
    """

    def __init__(self, function: str, address: str, limits: Limits, prepare: tuple = ()):
        self.function, self.address, self.limits, self.prepare = function, address, limits, prepare
        self._under_way: dict[ray.ObjectRef, tuple[tuple, bool]] = {}

    def __enter__(self) -> "RayPool":
        path = os.pathsep.join(filter(None, [CHECKOUT, os.environ.get("PYTHONPATH")]))
        try:
            _knock(self.address)
            ray.init(
                address=self.address,
                runtime_env={"env_vars": {"PYTHONPATH": path}},
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"no Ray cluster at '{self.address}' ({_line(error)}); start one with `ray start`, or set "
                "frames.ray_address to one that runs, or frames.executor to processes"
            ) from None
        print(f"Ray cluster at {self.address}: {self._cpus()} CPUs", flush=True)
        return self

    def __exit__(self, *_) -> None:
        for reference in self._under_way:
            ray.cancel(reference, force=True)
        self._under_way = {}
        ray.shutdown()

    def run(self, tasks: Iterable[tuple]) -> Iterator[tuple[Any, Any, float]]:
        """As `Pool.run`."""
        decode = ray.remote(max_retries=0)(_decode)
        waiting = deque((task, False) for task in tasks)
        while waiting or self._under_way:
            while waiting and len(self._under_way) < QUEUED * self._cpus():
                task, again = waiting.popleft()
                self._under_way[decode.remote(self.function, self.limits, self.prepare, task)] = task, again
            done, _ = ray.wait(list(self._under_way), timeout=10)
            for reference in done:
                task, again = self._under_way.pop(reference)
                answers = _result(reference)
                if not isinstance(answers, Failure):
                    yield from answers
                elif not again:
                    waiting.append((task, True))
                else:
                    yield from ((item, answers, 0.0) for item in task[0])

    def _cpus(self) -> int:
        return max(1, int(ray.cluster_resources().get("CPU", 0)))


def _knock(address: str) -> None:
    """OSError when nobody listens at host:port; Ray itself would try for minutes, and then end the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_S).close()


def _result(reference: ray.ObjectRef) -> list[tuple[Any, Any, float]] | Failure:
    """The answers of a finished task, or Failure when its machine or process was lost.

    UserError for what would befall every task, such as a checkout that the node does not see.
    """
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, UserError):
            raise UserError(f"on a node of the Ray cluster: {error.cause}") from None
        raise UserError(
            f"a task did not run on the Ray cluster: {_line(error.cause)}. Its nodes need this checkout at {CHECKOUT}, "
            "the same Python environment, and the videos at the same paths"
        ) from None
    except RuntimeEnvSetupError as error:
        raise UserError(f"a node of the Ray cluster cannot run tasks: {_line(error)}") from None
    except RayError as error:
        return Failure("out_of_memory" if isinstance(error, OutOfMemoryError) else "crash", _line(error))


def _line(error: BaseException) -> str:
    """The first line of what an error says."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300]
