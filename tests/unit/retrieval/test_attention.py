import math
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from workflow_scripts.lib.retrieval import attention
from workflow_scripts.lib.retrieval.attention import attend
from workflow_scripts.lib.retrieval.dropout import draw_mask
from workflow_scripts.lib.retrieval.model import gaussian_windows, mask_bias

B, HEADS, L, D = 2, 3, 5, 4
SEED = 11


def inputs(dtype=torch.float64, batch=B, length=L) -> torch.Tensor:
    """Queries, keys and values of all heads, side by side."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, length, 3, HEADS, D, generator=generator, dtype=dtype).requires_grad_()


def bias_of(dtype=torch.float64) -> torch.Tensor:
    return mask_bias(torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]), dtype)


def by_formula(qkv, window, bias, drop):
    """The same in plain operations, all of them autograd's."""
    query, key, value = (qkv[:, :, which].transpose(1, 2) for which in range(3))
    logits = query @ key.transpose(-1, -2) / math.sqrt(D)
    logits = logits if window is None else logits * window
    weights = (logits if bias is None else logits + bias).softmax(dim=-1)
    attended = (weights * draw_mask(weights, drop, SEED) if drop else weights) @ value
    return torch.cat(attended.unbind(1), dim=-1)


@pytest.fixture(autouse=True)
def one_seed(monkeypatch):
    """Every mask is that of SEED, so that dropout can be compared with the formula."""
    monkeypatch.setattr(attention, "new_seed", lambda: SEED)


@pytest.mark.parametrize("drop", [0.0, 0.4])
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("branch", range(4))
def test_output_and_gradient_are_those_of_the_formula(branch, padded, drop):
    window = gaussian_windows(L, L, torch.zeros(1, dtype=torch.float64))[branch]
    bias = bias_of() if padded else None
    qkv = inputs()
    towards = torch.randn(B, L, HEADS * D, dtype=torch.float64)
    found, expected = (f(qkv, window, bias, drop) for f in (attend, by_formula))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y, qkv, towards) for y in (found, expected)))


@pytest.mark.parametrize("drop", [0.0, 0.4])
def test_gradient_is_that_of_finite_differences(drop):
    window = gaussian_windows(L, L, torch.zeros(1, dtype=torch.float64))[1]
    assert torch.autograd.gradcheck(
        partial(attend, window=window, bias=bias_of(), drop=drop), inputs(), fast_mode=True
    )


def test_recomputation_gives_the_same_gradient(monkeypatch):
    monkeypatch.undo()  # masks follow torch's generator, which checkpoint restores
    window = gaussian_windows(L, L, torch.zeros(1))[2]
    qkv = inputs(torch.float32)

    def gradient(run):
        torch.manual_seed(3)
        return torch.autograd.grad(run(qkv, window, None, 0.4).square().sum(), qkv)[0]

    assert torch.equal(gradient(attend), gradient(partial(checkpoint, attend, use_reentrant=False)))


def test_nothing_of_every_pair_of_positions_is_kept():
    kept = []
    window = gaussian_windows(L, L, torch.zeros(1))[1]
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        attend(inputs(torch.float32), window, bias_of(torch.float32), 0.4)
    assert sorted(x.numel() for x in kept) == sorted([*[B * L * HEADS * D] * 3, L * L, B * L])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near_and_keeps_its_type(dtype):
    window, bias = gaussian_windows(L, L, torch.zeros(1))[1], bias_of(torch.float32)
    exact = inputs(torch.float32)
    half = exact.detach().to(dtype).requires_grad_()
    found, expected = attend(half, window, bias, 0.4), by_formula(exact, window, bias, 0.4)
    near, gradient = (
        torch.autograd.grad(y.float().square().sum(), x)[0] for y, x in ((found, half), (expected, exact))
    )
    assert found.dtype == near.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(near.float(), gradient, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("branch", [0, 1])
@pytest.mark.parametrize("drop", [0.0, 0.4])
def test_no_videos(branch, drop):
    window = gaussian_windows(L, L, torch.zeros(1))[branch]
    out = attend(inputs(torch.float32, batch=0), window, None, drop)
    assert out.shape == (0, L, HEADS * D)
    out.sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize("drop", [0.0, 0.4])
def test_one_compiled_graph_serves_all_sizes(drop):
    """In a process of its own: behind the compiler's threads, no fork of this one could train."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(compile_for_all_sizes, drop).result()


def compile_for_all_sizes(drop):
    """Traced, without making machine code, which takes minutes."""
    compiled = torch.compile(attend, dynamic=True, fullgraph=True, backend="aot_eager")
    for length in (5, 7, 6):
        qkv = inputs(torch.float32, length=length)
        window = gaussian_windows(length, length, qkv)[1]
        found = compiled(qkv, window, None, drop)
        assert torch.isfinite(torch.autograd.grad(found.sum(), qkv)[0]).all()
        if not drop:
            torch.testing.assert_close(found, by_formula(qkv, window, None, drop))
