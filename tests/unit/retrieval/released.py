"""Files in the form of GMMFormer's release, and pickles that run code when they are read."""

import os
import sys
import types
from functools import cache
from pathlib import Path

import torch

from tests.unit.retrieval.tiny_corpus import WIDTH
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig

SIZES = {
    "visual_input_size": WIDTH,
    "query_input_size": WIDTH,
    "hidden_size": 8,
    "max_ctx_l": 8,
    "max_desc_l": 6,
}


class Runs:
    """Unpickled by pickle, it calls `function`."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@cache
def weights() -> dict[str, torch.Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return GMMFormer(GMMFormerConfig(**SIZES, map_size=4, n_heads=2)).state_dict()


def save_release(path: Path, *, old_format: bool = False, **changes) -> Path:
    """A checkpoint as the original writes it, whose optimizer holds an object of a module that is not here."""
    module = types.ModuleType("Opts.optimization")
    schedule = type(
        "WarmupLinearSchedule", (), {"__module__": module.__name__, "__qualname__": "WarmupLinearSchedule"}
    )
    module.WarmupLinearSchedule = schedule
    made = schedule()
    made.warmup, made.t_total = 0.01, 13700
    names = ("Opts", "Opts.optimization")
    sys.modules.update(dict.fromkeys(names, module))
    try:
        content = {
            "config": {"map_size": 4, "n_heads": 2, "drop": 0.2, "input_drop": 0.15, "dataset_name": "tvr"},
            "epoch": 7,
            "model_val": 176.6,
            "state_dict": weights(),
            "optimizer": {"state": {}, "param_groups": [{"lr": 3e-4, "schedule": made}]},
        }
        torch.save({**content, **changes}, path, _use_new_zipfile_serialization=not old_format)
    finally:
        for name in names:
            del sys.modules[name]
    return path


def hostile(kind: str, trace: Path) -> Runs:
    """An object that would write `trace` if anything of it were run."""
    command = f"touch '{trace}'"
    return {
        "os.system": Runs(os.system, command),
        "builtins.eval": Runs(eval, f"open({str(trace)!r}, 'w')"),
        "builtins.exec": Runs(exec, f"open({str(trace)!r}, 'w')"),
        "builtins.open": Runs(open, str(trace), "w"),
        "pathlib": Runs(Path.touch, trace),
    }[kind]
