"""Device, threads and seeds of a command that uses torch."""

import argparse
import os
import platform
import random
import re

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
    fewer GPUs, or it is older than those that this torch was built for.
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
    device = torch.device("cuda", own)
    major, minor = torch.cuda.get_device_capability(device)
    oldest = min((int(re.sub(r"\D", "", name)) for name in torch.cuda.get_arch_list()), default=0)
    if 10 * major + minor < oldest and torch.version.hip is None:
        raise UserError(
            f"{device_name(device)} has compute capability {major}.{minor}, and torch {torch.__version__} is built for"
            f" {oldest // 10}.{oldest % 10} and above; compute on the processor (CUDA_VISIBLE_DEVICES= before the command),"
            " or install a torch that was built for it"
        )
    return device


def has_bf16(device: torch.device) -> bool:
    """Whether the device calculates in bf16 itself; a GPU that emulates it would be slow."""
    return device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)


def require_bf16(device: torch.device, key: str, instead: str) -> None:
    """UserError names the key that asks for bf16, which the device has not."""
    if not has_bf16(device):
        raise UserError(f"{key}: {device_name(device)} has no bf16; set it to {instead} (or fp32)")


def seed_all(seed: int) -> None:
    """Seed the global generators of random, numpy and torch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries draw from the global generator
    torch.manual_seed(seed)


def device_name(device: torch.device) -> str:
    """A name to record: the GPU's, or the processor's architecture."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"cpu ({platform.machine()})"
