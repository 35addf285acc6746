"""Optimizer steps: parts, recomputing, precisions, and random numbers."""

import numpy as np
import pytest
import torch

from tests.unit.retrieval.tiny_corpus import WIDTH, small_config
from workflow_scripts.lib.errors import UserError
from workflow_scripts.lib.features.datasets import Captioned
from workflow_scripts.lib.retrieval.data import make_batch
from workflow_scripts.lib.retrieval.model import GMMFormer, GMMFormerConfig
from workflow_scripts.lib.retrieval.state import TrainingState
from workflow_scripts.lib.retrieval.step import BatchEncoder, random_number, train_step

SIZES = {"hidden_size": 16, "n_heads": 2, "map_size": 4, "max_ctx_l": 8, "max_desc_l": 6}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def new_state(config) -> TrainingState:
    torch.manual_seed(0)
    sizes = GMMFormerConfig(WIDTH, WIDTH, drop=config.drop, input_drop=config.input_drop, **SIZES)
    return TrainingState.new(GMMFormer(sizes), config, total_steps=1000)


def some_videos(count=8):
    rng = np.random.default_rng(0)
    return [
        Captioned(
            rng.normal(size=(1 + 3 * k % 11, WIDTH)).astype(np.float32),
            [rng.normal(size=(2 + (k + j) % 5, WIDTH)).astype(np.float32) for j in range(1 + k % 3)],
            k,
            np.arange(1 + k % 3),
        )
        for k in range(count)
    ]


def steps(config, count=1, *, recompute=None, seed=3, state=None, hard=False):
    """The numbers of some steps on one batch, and the state behind them."""
    state = state or new_state(config)
    batch = make_batch(some_videos(), state.model.config, config.parts)
    recompute = config.accumulation > 1 if recompute is None else recompute
    encoder = BatchEncoder(state.model, recompute, precision=config.precision)
    numbers = [train_step(state, encoder, batch, config, seed=seed, hard=hard) for _ in range(count)]
    return [{name: float(value) for name, value in step.items()} for step in numbers], state


def assert_same_gradients(one, other, **tolerance):
    weights = zip(one.model.named_parameters(), other.model.parameters(), strict=True)
    for (name, weight), same in weights:
        torch.testing.assert_close(weight.grad, same.grad, msg=name, **tolerance)


def test_recomputed_parts_give_loss_and_gradients_of_kept_ones_dropout_included():
    config = small_config(drop=0.3, input_drop=0.3, accumulation=4)
    (kept,), state = steps(config, recompute=False)
    (again,), recomputed = steps(config, recompute=True)
    assert again == pytest.approx(kept, rel=1e-6)
    assert_same_gradients(recomputed, state, rtol=1e-5, atol=1e-6)


def test_accumulation_gives_loss_and_gradients_of_the_whole_batch():
    """In one part, without dropout: what the negatives are does not depend on the parts."""
    whole = small_config(drop=0.0, input_drop=0.0, length_buckets=1)
    (one,), state = steps(whole)
    (many,), in_parts = steps(small_config(drop=0.0, input_drop=0.0, length_buckets=1, accumulation=3))
    assert many == pytest.approx(one, rel=1e-5)
    assert_same_gradients(in_parts, state, rtol=1e-4, atol=1e-5)


def kept_bytes(config) -> int:
    """What the graph of a batch's encoding holds until the backward pass."""
    state, held = new_state(config), {}

    def keep(tensor):
        held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = make_batch(some_videos(16), state.model.config, config.parts)
    encoder = BatchEncoder(state.model, config.accumulation > 1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        outputs = encoder(batch)
    assert all(output.requires_grad for output in outputs)
    return sum(held.values())


def test_accumulation_keeps_no_activations():
    whole, parts = (kept_bytes(small_config(accumulation=n, length_buckets=4)) for n in (1, 4))
    assert parts < whole / 10


def test_embeddings_are_in_the_order_of_the_batch_whatever_its_parts():
    videos = some_videos()
    state = new_state(small_config(drop=0.0))
    encoder = BatchEncoder(state.model).eval()
    whole = encoder(make_batch(videos, state.model.config, 1))
    for parts in (2, 3, 8):
        for one, other in zip(whole, encoder(make_batch(videos, state.model.config, parts)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("accumulation", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_half_precision_learns_with_float32_weights_and_losses(precision, accumulation):
    plain = {"accumulation": accumulation, "lr": 1e-2, "warmup": 0.0, "drop": 0.0, "input_drop": 0.0}
    numbers, state = steps(small_config(precision=precision, **plain), 8)
    exact, _ = steps(small_config(**plain), 1)
    assert numbers[0]["total"] == pytest.approx(exact[0]["total"], rel=0.05)
    assert numbers[0]["total"] != exact[0]["total"]
    assert numbers[-1]["total"] < 0.9 * numbers[0]["total"]
    assert {weight.dtype for weight in state.model.parameters()} == {torch.float32}
    encoder = BatchEncoder(state.model, precision=precision)
    outputs = encoder(make_batch(some_videos(), state.model.config, 2))
    assert {output.dtype for output in outputs} == {torch.float32}


def test_an_overflow_of_fp16_is_skipped_and_counted():
    config = small_config(precision="fp16", warmup=0.0, lr=1e-2, length_buckets=1)
    state = new_state(config)
    before = {name: value.clone() for name, value in state.model.state_dict().items()}
    state.scaler._init_scale = 2.0**26  # gradients of the scaled loss are beyond what fp16 can hold
    (numbers,), _ = steps(config, state=state)
    assert (numbers["skipped"], numbers["grad_norm"], state.skipped, state.step) == (1, 0, 1, 1)
    assert all(torch.equal(value, before[name]) for name, value in state.model.state_dict().items())
    assert state.scaler.get_scale() == 2.0**25
    numbers, _ = steps(config, 14, state=state)
    assert 0 < state.skipped < 15 and numbers[-1]["skipped"] == 0
    assert any(not torch.equal(value, before[name]) for name, value in state.model.state_dict().items())


def test_means_leave_out_the_norm_of_skipped_steps(tmp_path):
    state = new_state(small_config(precision="fp16"))
    for norm, skipped in ((0.0, 1.0), (3.0, 0.0), (5.0, 0.0)):
        values = {"total": 1.0, "grad_norm": norm, "skipped": skipped}
        state.count({name: torch.tensor(value) for name, value in values.items()})
    assert state.means(state.of_row) == {"total": 1.0, "grad_norm": 4.0, "skipped": 1.0}


def test_the_scale_goes_on_after_a_kill():
    config = small_config(precision="fp16", length_buckets=1)
    state = new_state(config)
    state.scaler._init_scale = 2.0**28
    steps(config, 3, state=state)
    other = new_state(config)
    other.load_state_dict(state.state_dict())
    assert other.scaler.get_scale() == state.scaler.get_scale() != new_state(config).scaler.get_scale()
    assert other.skipped == state.skipped > 0
    assert steps(config, 2, state=other)[0] == steps(config, 2, state=state)[0]


@pytest.mark.parametrize("bad", ["total", "grad_norm"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_bad_step_among_many_is_told(bad, value):
    state = new_state(small_config())
    for step in range(20):
        values = {"total": 1.0, "grad_norm": 2.0} | ({bad: value} if step == 7 else {})
        state.count({name: torch.tensor(value) for name, value in values.items()})
    with pytest.raises(UserError, match="training has diverged; try a smaller `lr`"):
        state.means(state.of_epoch)


def test_random_numbers_are_those_of_seed_step_and_process():
    numbers = {
        random_number(seed, what, step, rank)
        for seed in (0, 1, -1)
        for what in (0, 1)
        for step in range(5)
        for rank in range(3)
    }
    assert len(numbers) == 3 * 2 * 5 * 3
    assert random_number(3, 0, 5, 1) == random_number(3, 0, 5, 1)
    torch.manual_seed(max(numbers))  # all 64 bits are a seed


def test_a_step_does_not_depend_on_what_was_drawn_before():
    config = small_config(drop=0.3, input_drop=0.3)
    (one,), _ = steps(config)
    state = new_state(config)
    torch.rand(100)
    state.model.eval()  # as validation leaves it
    (other,), _ = steps(config, state=state)
    assert one == other
    assert steps(config, seed=4)[0] != [one]


def test_negatives_do_not_depend_on_dropout():
    """So that any number of processes draws the same ones."""
    with_dropout, _ = steps(small_config(drop=0.5, input_drop=0.5, margin=0.5))
    assert with_dropout != steps(small_config(drop=0.0, input_drop=0.0, margin=0.5))[0]
    plain, _ = steps(small_config(drop=0.0, input_drop=0.0, margin=0.5, length_buckets=1))
    in_parts, _ = steps(small_config(drop=0.0, input_drop=0.0, margin=0.5, length_buckets=8))
    assert in_parts[0] == pytest.approx(plain[0], rel=1e-4)
