"""Where a training is: weights, optimizer, and how far it has come."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.lib.config import RetrievalConfig
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.retrieval.model import GMMFormer
from workflow_scripts.lib.retrieval.optim import make_optimizer, make_schedule

PROGRESS = ("epoch", "epoch_step", "step", "skipped", "best_sumr", "best_epoch", "curve")


class StepSums:
    """Sums of a step's numbers over steps; they stay on the device, and only `means` waits for it."""

    def __init__(self):
        self.names: list[str] = []
        self.steps = 0
        self.values: Tensor | None = None
        """[names] float64"""

    def add(self, numbers: dict[str, Tensor]) -> None:
        values = torch.stack(list(numbers.values())).double()
        self.names, self.steps = list(numbers), self.steps + 1
        self.values = values if self.values is None else self.values + values

    def means(self) -> dict[str, float]:
        """By name; of `skipped`, which only fp16 has, the sum, and of `grad_norm` the mean over the other steps."""
        sums = dict(zip(self.names, self.values.tolist(), strict=True)) if self.steps else {}
        means = {name: value / self.steps for name, value in sums.items()}
        if "skipped" in sums:
            means["skipped"] = sums["skipped"]
            means["grad_norm"] = sums["grad_norm"] / max(1, self.steps - sums["skipped"])
        return means

    def state_dict(self) -> dict[str, Any]:
        values = None if self.values is None else self.values.cpu()
        return {"names": self.names, "steps": self.steps, "values": values}

    def load_state_dict(self, content: dict[str, Any], device: torch.device) -> None:
        self.names, self.steps = content["names"], content["steps"]
        self.values = None if content["values"] is None else content["values"].to(device)


@dataclass
class TrainingState:
    """Everything that a resumed run needs to go on as if nothing had happened; random numbers need nothing."""

    model: GMMFormer
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    rate: Callable[[int], float]
    """Learning rate by optimizer step."""
    epoch: int = 0
    """Epochs done."""
    epoch_step: int = 0
    """Optimizer steps done in the epoch behind them."""
    step: int = 0
    """Optimizer steps done."""
    skipped: int = 0
    """Of these, those that fp16's gradients overflowed in, so that nothing was learned."""
    best_sumr: float = -1.0
    """Best validation SumR so far, in percent."""
    best_epoch: int = 0
    """Epoch (from 1) whose weights are kept."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Rows of curve.csv."""
    of_epoch: StepSums = field(default_factory=StepSums)
    """Since the epoch began."""
    of_row: StepSums = field(default_factory=StepSums)
    """Since the last row of training.csv."""

    @classmethod
    def new(cls, model: GMMFormer, config: RetrievalConfig, total_steps: int) -> "TrainingState":
        """Of a model, on its device, that has learned nothing yet; the schedule spans `total_steps`."""
        device = next(model.parameters()).device
        factor = make_schedule(config, total_steps)
        return cls(
            model,
            make_optimizer(model, config),
            torch.amp.GradScaler(device.type, enabled=config.precision == "fp16"),
            lambda step: config.lr * factor(step),
        )

    def update(self, norm: Tensor) -> dict[str, Tensor]:
        """Let the optimizer take its step with the gradients, which have this norm and are no longer scaled.

        Returns the norm as `grad_norm`; in fp16 also `skipped`, 1 where the gradients have overflowed: then no weight
        changes, and the scale is halved.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate(self.step)
        self.step += 1
        self.epoch_step += 1
        scale = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        if not self.scaler.is_enabled():
            return {"grad_norm": norm}
        self.scaler.update()
        overflown = self.scaler.get_scale() < scale
        self.skipped += overflown
        flag = norm.new_tensor(float(overflown))
        return {"grad_norm": torch.zeros_like(norm) if overflown else norm, "skipped": flag}

    def count(self, numbers: dict[str, Tensor]) -> None:
        """Add what a step returned to the sums."""
        self.of_epoch.add(numbers)
        self.of_row.add(numbers)

    def means(self, sums: StepSums) -> dict[str, float]:
        """The means of one of the two sums. UserError when losses or gradients are no longer numbers."""
        means = sums.means()
        if bad := [name for name in ("total", "grad_norm") if not math.isfinite(means.get(name, 0.0))]:
            what = "the loss" if "total" in bad else "the norm of the gradients"
            raise UserError(
                f"retrieval: {what} is {means[bad[0]]} within the {sums.steps} steps up to step {self.step}: training has"
                f" diverged; try a smaller `lr` (the rate is {self.last_rate:.2g} there), or `precision: bf16` or `fp32`"
            )
        return means

    @property
    def last_rate(self) -> float:
        """Learning rate of the last step."""
        return self.rate(max(0, self.step - 1))

    def end_epoch(self, scores: dict[str, float]) -> bool:
        """Add the epoch's row to the curve, given validation's part of it; returns whether it is the best so far.

        Without scores, the last epoch is the best.
        """
        loss = self.means(self.of_epoch)["total"]
        self.epoch, self.epoch_step, self.of_epoch = self.epoch + 1, 0, StepSums()
        row = {"step": self.step, "epoch": self.epoch, "train_loss": loss, **scores, "lr": self.last_rate}
        self.curve.append(row)
        is_best = not scores or scores["val_sumr"] > self.best_sumr
        if is_best:
            self.best_epoch, self.best_sumr = self.epoch, scores.get("val_sumr", -1.0)
        return is_best

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain Python objects: safe to load with `weights_only=True`."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "progress": {name: getattr(self, name) for name in PROGRESS},
            "sums": [self.of_epoch.state_dict(), self.of_row.state_dict()],
        }

    def load_state_dict(self, content: dict[str, Any]) -> None:
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        for name in PROGRESS:
            setattr(self, name, content["progress"][name])
        device = next(self.model.parameters()).device
        for sums, its_content in zip((self.of_epoch, self.of_row), content["sums"], strict=True):
            sums.load_state_dict(its_content, device)
