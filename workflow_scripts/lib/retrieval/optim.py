"""Optimizers, learning rates and gradient clipping of GMMFormer's training."""

import math
from collections.abc import Callable, Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from workflow_scripts.lib.config import RetrievalConfig


class BertAdam(Optimizer):
    """Adam as BERT's first release had it, and GMMFormer after it: no bias correction, and decay as a part of the update.

    With gradient g, parameter p and rate lr: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, and
    p = p - lr (m / (sqrt(v) + eps) + weight_decay p). Clipping and the schedule, which the release had inside, are
    `clip_gradients` and `make_schedule`.
    """

    def __init__(
        self,
        params: Iterable,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ):
        if not (lr >= 0 and eps > 0 and weight_decay >= 0 and all(0 <= beta < 1 for beta in betas)):
            raise ValueError(
                f"lr {lr} and weight_decay {weight_decay} may not be negative, eps {eps} must be above 0, "
                f"and betas {betas} lie from 0 to below 1"
            )
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Update every parameter that has a gradient; RuntimeError when one is sparse. Returns what `closure` gives."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [param for param in group["params"] if param.grad is not None]
            if params:
                self._update(params, group)
        return loss

    def _update(self, params: list[Tensor], group: dict) -> None:
        """The step of a group, a few operations over all its tensors at a time."""
        grads = [param.grad for param in params]
        if any(grad.is_sparse for grad in grads):
            raise RuntimeError("BertAdam does not support sparse gradients")
        states = [self._state(param) for param in params]
        means, squares = ([state[name] for state in states] for name in ("exp_avg", "exp_avg_sq"))
        beta1, beta2 = group["betas"]
        torch._foreach_mul_(means, beta1)
        torch._foreach_add_(means, grads, alpha=1 - beta1)
        torch._foreach_mul_(squares, beta2)
        torch._foreach_addcmul_(squares, grads, grads, 1 - beta2)
        scales = torch._foreach_sqrt(squares)
        torch._foreach_add_(scales, group["eps"])
        updates = torch._foreach_div(means, scales)
        if group["weight_decay"]:
            torch._foreach_add_(updates, params, alpha=group["weight_decay"])
        torch._foreach_add_(params, updates, alpha=-group["lr"])

    def _state(self, param: Tensor) -> dict[str, Tensor]:
        state = self.state[param]
        if not state:
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(param), torch.zeros_like(param)
        return state


def make_optimizer(model: nn.Module, config: RetrievalConfig) -> Optimizer:
    """The optimizer of `retrieval.optimizer`.

    Matrices decay; vectors, which are the biases and the weights of LayerNorms, do not. These are the original's
    groups, too, which it tells by name.
    """
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    kind = BertAdam if config.optimizer == "bert_adam" else torch.optim.AdamW
    return kind(groups, lr=config.lr)


def make_schedule(config: RetrievalConfig, total_steps: int) -> Callable[[int], float]:
    """Factor of the learning rate by optimizer step, from 0: up, then down to 0 at `total_steps`.

    With `bert_adam` the first step's rate is 0, and the warm-up a share of steps that need not be whole, as the
    original has both; with `adamw` no step is lost to a rate of 0.
    """
    if config.optimizer == "bert_adam":
        rising, ahead = config.warmup * total_steps, 0
    else:
        rising, ahead = round(config.warmup * total_steps), 1

    def factor(step: int) -> float:
        if step >= total_steps:
            return 0.0
        if step < rising:
            return (step + ahead) / rising
        done = (step - rising) / (total_steps - rising)
        return 1 - done if config.schedule == "linear" else (1 + math.cos(math.pi * done)) / 2

    return factor


def clip_gradients(
    parameters: Iterable[Tensor], max_norm: float, how: Literal["global", "per_tensor"] = "global"
) -> Tensor:
    """Scale gradients down to the norm `max_norm`: all by one factor, or each tensor by its own.

    Returns the norm of all gradients together before it, a tensor on their device: nothing waits for the GPU. A
    gradient that is not finite is not hidden; the norm tells.
    """
    parameters = [param for param in parameters if param.grad is not None]
    grads = [param.grad for param in parameters]
    if how == "global" or not grads:
        norm = nn.utils.get_total_norm(grads)
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm
    norms = torch.stack(torch._foreach_norm(grads))
    scales = (max_norm / (norms + 1e-6)).clamp_max(1.0)
    torch._foreach_mul_(grads, list(scales.unbind()))
    return norms.norm()
