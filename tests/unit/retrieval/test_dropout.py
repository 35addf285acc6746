import numpy as np
import pytest
import torch
from torch.utils.checkpoint import checkpoint

from workflow_scripts.lib.retrieval.dropout import Dropout, draw_mask, dropout, new_seed

MANY = 400_000


@pytest.mark.parametrize("rate", [0.01, 0.15, 0.2, 0.5, 0.9])
def test_rate_is_kept_everywhere_and_the_mean_stays(rate):
    mask = draw_mask(torch.ones(MANY), rate, seed=1)
    assert torch.equal(mask.unique()[:1], torch.zeros(1))
    assert len(mask.unique()) == 2
    assert mask.max().item() == pytest.approx(1 / (1 - rate), rel=1e-3)
    for part in (mask, *(mask[lane::4] for lane in range(4))):  # four elements share a word of the generator
        error = (rate * (1 - rate) / len(part)) ** 0.5
        assert (part == 0).double().mean().item() == pytest.approx(rate, abs=5 * error + 1e-5)
        assert part.double().mean().item() == pytest.approx(1, abs=5 * error / (1 - rate))


def test_neighbours_and_masks_of_other_seeds_are_independent():
    mask = draw_mask(torch.ones(MANY), 0.3, seed=1)
    others = [mask.roll(1), mask.roll(4), draw_mask(mask, 0.3, seed=2)]
    for other in others:
        assert abs(np.corrcoef(mask, other)[0, 1]) < 5 / MANY**0.5


@pytest.mark.parametrize("rate", [1e-9, 1 - 1e-9])
def test_rates_at_the_ends_stay_finite(rate):
    assert torch.isfinite(draw_mask(torch.ones(1000), rate, seed=1)).all()


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (7,), (2, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_shapes_types_and_layouts(shape, dtype):
    x = torch.ones(shape, dtype=dtype)
    mask = draw_mask(x, 0.5, seed=3)
    assert (mask.shape, mask.dtype) == (x.shape, dtype)
    turned = x.expand(2, *shape).transpose(0, -1)
    assert draw_mask(turned, 0.5, seed=3).shape == turned.shape


def test_gradient_is_that_of_the_same_mask():
    torch.manual_seed(0)
    x = torch.randn(5, 100, requires_grad=True)
    y = dropout(x, 0.4)
    y.backward(torch.full_like(y, 2.0))
    dropped = y == 0
    assert 0 < dropped.sum() < dropped.numel()
    torch.testing.assert_close(x.grad, torch.where(dropped, 0.0, 2 / 0.6), rtol=1e-4, atol=0)
    torch.testing.assert_close(y, torch.where(dropped, 0.0, x / 0.6), rtol=1e-4, atol=0)


def test_mask_follows_torchs_seed_and_differs_between_calls():
    def draw(seed):
        torch.manual_seed(seed)
        return dropout(torch.ones(200), 0.5), dropout(torch.ones(200), 0.5)

    first, second = draw(5)
    assert not torch.equal(first, second)
    assert all(torch.equal(a, b) for a, b in zip(draw(5), (first, second), strict=True))
    assert not torch.equal(draw(6)[0], first)
    assert len({new_seed() for _ in range(100)}) == 100


def test_recomputed_forward_draws_the_same_mask():
    layer = Dropout(0.5)
    x = torch.randn(50, requires_grad=True)
    y = checkpoint(lambda x: layer(x).square(), x, use_reentrant=False)
    y.sum().backward()
    torch.testing.assert_close(x.grad == 0, y == 0)


def test_nothing_happens_outside_of_training_or_without_a_rate():
    x = torch.randn(20)
    state = torch.get_rng_state()
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), state)
