"""Device, threads and seeds of a command that uses torch."""

import argparse
import platform
import random

import numpy as np
import torch


def add_compute_arguments(parser: argparse.ArgumentParser) -> None:
    """`--threads` and `--seed`, the same in every command that trains or encodes."""
    parser.add_argument(
        "--threads", type=int, default=torch.get_num_threads(), help="CPU threads (default: torch's own)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of every random choice")


def set_up_compute(threads: int, seed: int) -> torch.device:
    """Limit torch to `threads`, seed everything, and return the GPU if there is one."""
    torch.set_num_threads(threads)
    seed_all(seed)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def seed_all(seed: int) -> None:
    """Seed the global generators of random, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from the global generator
    torch.manual_seed(seed)


def device_name(device: torch.device) -> str:
    """A name to record: the GPU's, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"
