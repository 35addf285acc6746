import copy
import math

import pytest
import torch
from torch import nn

from tests.unit.retrieval.tiny_corpus import small_config
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig
from workflow_scripts.lib.retrieval.optim import BertAdam, clip_gradients, make_optimizer, make_schedule


def made_params(seed=0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((4, 3), (5,), (1, 2))]


def give_gradients(params, step, size=1.0) -> None:
    generator = torch.Generator().manual_seed(100 + step)
    for param in params:
        param.grad = size * torch.randn(param.shape, generator=generator)


def test_bert_adam_by_its_formula_number_by_number():
    params = made_params()
    optimizer = BertAdam(params, lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1)
    values = [param.flatten().tolist() for param in params]
    means = [[0.0] * len(its) for its in values]
    squares = [[0.0] * len(its) for its in values]
    for step in range(4):
        give_gradients(params, step)
        grads = [param.grad.flatten().tolist() for param in params]
        optimizer.step()
        for its, mean, square, grad in zip(values, means, squares, grads, strict=True):
            for i, g in enumerate(grad):
                mean[i] = 0.8 * mean[i] + 0.2 * g
                square[i] = 0.95 * square[i] + 0.05 * g * g
                its[i] -= 0.02 * (mean[i] / (math.sqrt(square[i]) + 1e-3) + 0.1 * its[i])
    for param, its in zip(params, values, strict=True):
        assert param.flatten().tolist() == pytest.approx(its, abs=1e-6)


def test_bert_adam_is_adam_but_for_bias_correction():
    """With Adam's corrections put into rate and eps, both take the same steps."""
    ours, theirs = made_params(), made_params()
    one, other = BertAdam(ours, lr=1.0, eps=1e-6), torch.optim.Adam(theirs, lr=1.0, eps=1e-6)
    for step in range(1, 6):
        correction1, correction2 = 1 - 0.9**step, math.sqrt(1 - 0.999**step)
        one.param_groups[0]["lr"] = 0.01
        other.param_groups[0]["lr"] = 0.01 * correction1 / correction2
        other.param_groups[0]["eps"] = 1e-6 / correction2
        for params in (ours, theirs):
            give_gradients(params, step)
        one.step()
        other.step()
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-5, atol=1e-6)


def test_bert_adam_leaves_parameters_without_gradient_and_refuses_sparse_ones():
    params = made_params()
    before = [param.detach().clone() for param in params]
    optimizer = BertAdam(params, lr=0.1, weight_decay=0.5)
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert not torch.equal(params[0], before[0])
    assert all(torch.equal(param, value) for param, value in zip(params[1:], before[1:], strict=True))
    assert params[1] not in optimizer.state
    params[1].grad = torch.ones(5).to_sparse()
    with pytest.raises(RuntimeError, match="sparse"):
        optimizer.step()


def test_bert_adam_calls_a_closure_with_gradients_and_returns_its_loss():
    [param] = params = [nn.Parameter(torch.tensor([2.0]))]
    optimizer = BertAdam(params, lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (param**2).sum()
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 4.0
    assert param.item() < 2.0


def test_bert_adam_goes_on_from_its_state_as_if_nothing_had_happened(tmp_path):
    params = made_params()
    optimizer = BertAdam(params, lr=0.1, weight_decay=0.01)
    for step in range(3):
        give_gradients(params, step)
        optimizer.step()
    resumed = copy.deepcopy(params)
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    again = BertAdam(resumed, lr=1.0)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for step in range(3, 6):
        for its, its_optimizer in ((params, optimizer), (resumed, again)):
            give_gradients(its, step)
            its_optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(params, resumed, strict=True))


@pytest.mark.parametrize("wrong", [{"lr": -1}, {"lr": 1, "eps": 0}, {"lr": 1, "betas": (1.0, 0.9)}])
def test_bert_adam_refuses_rates_that_make_no_sense(wrong):
    with pytest.raises(ValueError, match="lr"):
        BertAdam(made_params(), **wrong)


@pytest.mark.parametrize("optimizer", ["adamw", "bert_adam"])
def test_what_decays_is_what_the_original_tells_by_name(optimizer):
    model = GMMFormer(GMMFormerConfig(10, 6, hidden_size=8, n_heads=2, max_ctx_l=8, max_desc_l=6, map_size=4))
    made = make_optimizer(model, small_config(optimizer=optimizer, weight_decay=0.03))
    decay = {id(param): group["weight_decay"] for group in made.param_groups for param in group["params"]}
    without = ("bias", "LayerNorm.weight", "LayerNorm.bias")
    for name, param in model.named_parameters():
        assert decay[id(param)] == (0.0 if any(part in name for part in without) else 0.03), name
    assert sum(value > 0 for value in decay.values()) == 76
    assert type(made).__name__ == {"adamw": "AdamW", "bert_adam": "BertAdam"}[optimizer]


def test_schedule_of_the_original_starts_at_0_and_its_warmup_need_not_be_whole_steps():
    factor = make_schedule(small_config(optimizer="bert_adam", warmup=0.25), 10)
    assert [factor(step) for step in range(13)] == pytest.approx(
        [0, 0.4, 0.8, *((10 - step) / 7.5 for step in range(3, 10)), 0, 0, 0]
    )


def test_schedule_of_adamw_loses_no_step_to_a_rate_of_0():
    factor = make_schedule(small_config(warmup=0.4), 10)
    assert [factor(step) for step in range(11)] == pytest.approx(
        [0.25, 0.5, 0.75, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6, 0]
    )
    assert factor(1000) == 0


@pytest.mark.parametrize("optimizer", ["adamw", "bert_adam"])
def test_cosine_falls_slowly_at_both_ends_and_ends_at_0(optimizer):
    factor = make_schedule(small_config(optimizer=optimizer, schedule="cosine", warmup=0.1), 1000)
    assert factor(100) == 1
    assert factor(550) == pytest.approx(0.5)
    assert factor(999) < 1e-5
    assert factor(1000) == factor(1001) == 0
    values = [factor(step) for step in range(100, 1001)]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("optimizer", ["adamw", "bert_adam"])
@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.999])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_schedules_of_a_few_steps_stay_between_0_and_1(optimizer, schedule, warmup, steps):
    factor = make_schedule(small_config(optimizer=optimizer, schedule=schedule, warmup=warmup), steps)
    assert all(0 <= factor(step) <= 1 for step in range(steps))
    assert factor(steps) == 0
    assert optimizer == "bert_adam" or all(factor(step) > 0 for step in range(steps))


def test_clipping_all_gradients_by_one_factor_is_torchs():
    ours, theirs = made_params(), made_params()
    for params in (ours, theirs):
        give_gradients(params, 0, size=3)
    norm = clip_gradients(iter(ours), 1.0, "global")
    assert norm == nn.utils.clip_grad_norm_(theirs, 1.0)
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, its.grad)


def test_clipping_each_tensor_by_its_own_norm():
    params = made_params()
    params[0].grad, params[1].grad = torch.full((4, 3), 2.0), torch.full((5,), 0.1)
    norm = clip_gradients(params, 1.0, "per_tensor")
    assert norm.item() == pytest.approx(math.sqrt(12 * 4 + 5 * 0.01))
    assert params[0].grad.norm().item() == pytest.approx(1.0, abs=1e-5)
    assert params[1].grad.tolist() == pytest.approx([0.1] * 5)
    assert params[2].grad is None


@pytest.mark.parametrize("how", ["global", "per_tensor"])
def test_a_gradient_that_is_no_number_is_told_by_the_norm(how):
    params = made_params()
    give_gradients(params, 0)
    params[1].grad[0] = math.nan
    assert math.isnan(clip_gradients(params, 1.0, how))


@pytest.mark.parametrize("how", ["global", "per_tensor"])
def test_no_gradients_have_norm_0(how):
    assert clip_gradients(made_params(), 1.0, how) == 0
