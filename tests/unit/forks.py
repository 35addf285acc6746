"""Several processes of one test, without the seconds that torchrun takes to start them."""

import os
import socket
import traceback
from collections.abc import Callable, Mapping

from workflow_scripts.lib.errors import UserError


def in_processes(
    world: int, work: Callable[[int], object], codes: Mapping[type[BaseException], int] | None = None
) -> list[int]:
    """Exit codes of forks that do `work(rank)`, which know of each other as torchrun would have it.

    0, 2 for a UserError, 3 for the one that says that another process has failed, 1 for anything else that `codes` has
    no number for.
    """
    port, children = free_port(), []
    for rank in range(world):
        if (child := os.fork()) == 0:
            code = 1
            try:
                os.environ |= {
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
                    "RANK": str(rank), "WORLD_SIZE": str(world),
                }  # fmt: skip
                work(rank)
                code = 0
            except UserError as error:
                print(error, flush=True)
                code = 3 if "another one has failed" in str(error) else 2
            except BaseException as error:
                code = (codes or {}).get(type(error), 1)
                if code == 1:
                    traceback.print_exc()
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]
