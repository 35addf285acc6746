"""Device, threads and seeds of a command that uses torch."""

import argparse
import os
import platform
import random

import numpy as np
import torch

from workflow_scripts.lib.errors import UserError


def add_compute_arguments(parser: argparse.ArgumentParser) -> None:
    """`--threads` and `--seed`, the same in every command that draws at random."""
    add_threads_argument(parser)
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice")


def add_threads_argument(parser: argparse.ArgumentParser) -> None:
    """`--threads`, for a command that draws nothing."""
    parser.add_argument(
        "--threads",
        type=_from_one,
        default=torch.get_num_threads(),
        help="CPU threads (default: torch's own)",
    )


def _from_one(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


def set_up_compute(threads: int, seed: int = 0) -> torch.device:
    """Limit torch to `threads`, seed everything, and return the GPU if there is one.

    Under torchrun, the processes of a machine share the threads, and each has a GPU of its own; UserError when there are
    fewer GPUs.
    """
    torch.set_num_threads(max(1, threads // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))
    seed_all(seed)
    if not torch.cuda.is_available():
        return torch.device("cpu")
    own, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if own >= there:
        raise UserError(
            f"torchrun has started process {own + 1} on a machine with {there} GPUs; set the rule's resource `gpu`"
            f" to {there} at most"
        )
    torch.cuda.set_device(own)
    return torch.device("cuda", own)


def seed_all(seed: int) -> None:
    """Seed the global generators of random, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from the global generator
    torch.manual_seed(seed)


def device_name(device: torch.device) -> str:
    """A name to record: the GPU's, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"
